// What the two routing kernels share: the expert of a slot, and rows that belong to nobody until a slot takes them.
//
// A slot is one of a token's top_k choices: slot = token · top_k + choice. A chunk is the slots of one CTA.
// config.cuh gives NUM_EXPERTS, NUM_WARPS (of a CTA), ID_BYTES (4 or 8) and LAYOUT.
#pragma once
#include "types.cuh"

constexpr uint32_t OFFSETS = 0, CONTIGUOUS = 1, MASKED = 2;  // LAYOUT
constexpr uint32_t NUM_THREADS = NUM_WARPS * 32;
constexpr int32_t NOBODY = -1;

// NUM_EXPERTS where the slot is dropped, or not before `end`. Unsigned: a negative id is a large one.
__device__ __forceinline__ uint32_t expert_of(const uint8_t* ids, uint32_t slot, uint32_t end) {
    if (slot >= end) return NUM_EXPERTS;
    if constexpr (ID_BYTES == 8) {
        const uint64_t id = __ldg(reinterpret_cast<const uint64_t*>(ids) + slot);
        return id < NUM_EXPERTS ? static_cast<uint32_t>(id) : NUM_EXPERTS;
    }
    return min_of(__ldg(reinterpret_cast<const uint32_t*>(ids) + slot), NUM_EXPERTS);
}

// By the whole grid. Cheaper than to find out which rows stay empty: a row's few bytes are written twice at most.
__device__ __forceinline__ void clear_rows(int32_t* token_of_row, int32_t* layout, uint32_t rows) {
    for (uint32_t row = blockIdx.x * NUM_THREADS + threadIdx.x; row < rows; row += gridDim.x * NUM_THREADS) {
        token_of_row[row] = NOBODY;
        if constexpr (LAYOUT == CONTIGUOUS) layout[row] = NOBODY;
    }
}
