// FP32 accumulators to BF16 rows of D. Each warp owns 16 rows and works alone: convert, stage a strip of up to 64 columns
// in shared memory, hand it to the copy engine. No warp waits for another.
#pragma once
#include "promotion.cuh"
#include "ptx/cp_async_bulk_tensor.cuh"
#include "ptx/stmatrix.cuh"
#include "ptx/warp.cuh"

// 16-byte chunk `chunk` of row `row` in a strip. `swizzle` is 7 for the 128-byte swizzle that the tensor map of D names, which
// is free of bank conflicts, or 0 for rows as they are.
__device__ __forceinline__ uint32_t strip_offset(uint32_t row, uint32_t chunk, uint32_t swizzle) {
    return row * 128 + (chunk ^ (row & swizzle)) * 16;
}

// Columns [8·first_group, 8·first_group + STRIP_N) of the warp's 16 rows, converted to BF16.
__device__ __forceinline__ void stage_strip(uint8_t* strip, const float (&final)[ACCUMULATORS], uint32_t first_group,
                                            uint32_t lane, uint32_t swizzle) {
    constexpr uint32_t CHUNKS = STRIP_N / 8;
    const uint32_t base = ptx::shared_address(strip);
#pragma unroll
    for (uint32_t chunk = 0; chunk + 1 < CHUNKS; chunk += 2)
        ptx::stmatrix_x4_bf16(base + strip_offset(lane % 16, chunk + lane / 16, swizzle),
                              final + 4 * (first_group + chunk));
    if constexpr (CHUNKS % 2 == 1)
        ptx::stmatrix_x2_bf16(base + strip_offset(lane % 16, CHUNKS - 1, swizzle),
                              final + 4 * (first_group + CHUNKS - 1));
}

// Strips that are narrower than a swizzle row, by ordinary stores.
__device__ __forceinline__ void copy_strip(const uint8_t* strip, bfloat16_t* d, uint64_t d_stride, uint32_t row,
                                           uint32_t column, uint32_t valid_rows, uint32_t lane) {
    constexpr uint32_t CHUNKS = STRIP_N / 8;
#pragma unroll 4
    for (uint32_t i = lane; i < 16 * CHUNKS; i += 32) {
        const uint32_t r = i / CHUNKS, chunk = i % CHUNKS;
        if ((valid_rows >> r & 1) != 0 && column + chunk * 8 < SHAPE_N) {
            const uint4 bits = *reinterpret_cast<const uint4*>(strip + strip_offset(r, chunk, 7));
            *reinterpret_cast<uint4*>(d + (row + r) * d_stride + column + chunk * 8) = bits;
        }
    }
}

// The ring of NUM_D_STRIPS strips is this warp's own, across slices and tiles.
struct Epilogue {
    const TensorMap& map;
    bfloat16_t* d;
    uint64_t d_stride;  // elements
    uint8_t (&strips)[NUM_D_STRIPS][STRIP_BYTES];
    uint32_t lane;
    uint32_t slot = 0;

    // `row`: of the warp's first row in D; `valid_rows`: bit i is set where row i of its 16 is to be written.
    __device__ __forceinline__ void store(const float (&final)[ACCUMULATORS], uint32_t row, uint32_t column,
                                          uint32_t valid_rows) {
        if (valid_rows == 0) return;
        // A tensor map clips at the tensor's edge, not at a group's: there, where not all 16 rows are the tile's, each is copied.
        const bool is_whole = GROUPING == DENSE || valid_rows == 0xffff;
#pragma unroll
        for (uint32_t i = 0; i < NUM_STRIPS; ++i) {
            // The last strip ends with the tile: where 64 does not divide WGMMA_N it stores some columns again.
            const uint32_t first = min_of(i * STRIP_N, WGMMA_N - STRIP_N);
            ptx::cp_async_bulk_wait_group_read<NUM_D_STRIPS - 1>();
            __syncwarp();
            stage_strip(strips[slot], final, first / 8, lane, STRIP_N < 64 || is_whole ? 7 : 0);
            send(strips[slot], row, column + first, valid_rows, is_whole);
            slot = slot + 1 == NUM_D_STRIPS ? 0 : slot + 1;
        }
    }

    __device__ __forceinline__ void send(const uint8_t* strip, uint32_t row, uint32_t column, uint32_t valid_rows,
                                         bool is_whole) {
        if constexpr (STRIP_N < 64) {
            __syncwarp();
            copy_strip(strip, d, d_stride, row, column, valid_rows, lane);
            return;
        }
        ptx::fence_proxy_async();
        __syncwarp();
        if (is_whole) {
            if (lane == 0) ptx::cp_async_bulk_tensor_2d_store(map, strip, column, row);
        } else if ((valid_rows >> lane & 1) != 0 && column < SHAPE_N) {
            ptx::cp_async_bulk_store(d + (row + lane) * d_stride + column, strip + lane * 128,
                                     min_of(SHAPE_N - column, STRIP_N) * sizeof(bfloat16_t));
        }
        ptx::cp_async_bulk_commit_group();
    }
};
