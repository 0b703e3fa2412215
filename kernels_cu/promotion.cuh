// Two-level accumulation: the tensor core sums 128 of K, the CUDA cores add that partial sum, scaled, in FP32.
#pragma once
#include "ptx/warp.cuh"
#include "shared_storage.cuh"

// Accumulator layout of m64nNk32 (PTX ISA, figure "WGMMA .m64nNk32 register fragment layout for accumulator matrix D"):
// registers 4g, 4g+1 are columns 8g + 2·(lane % 4) + {0, 1} of row lane / 4; 4g+2, 4g+3 the same of row lane / 4 + 8.
constexpr uint32_t ACCUMULATORS = BLOCK_N / 2;

// `POSITION`: where in its first 128-block of N the tile begins. So each group of 8 columns knows its B scale when the
// kernel is compiled, however the tile lies across the blocks.
template <uint32_t POSITION>
__device__ __forceinline__ void promote(float (&final)[ACCUMULATORS], const float (&partial)[ACCUMULATORS],
                                        float sfa_top, float sfa_bottom, const float (&sfb)[NUM_SFB]) {
    float top[NUM_SFB], bottom[NUM_SFB];
#pragma unroll
    for (uint32_t i = 0; i < NUM_SFB; ++i) {
        top[i] = sfa_top * sfb[i];
        bottom[i] = sfa_bottom * sfb[i];
    }
#pragma unroll
    for (uint32_t group = 0; group < BLOCK_N / 8; ++group) {
        const uint32_t block = (POSITION + group * 8) / 128;
        final[4 * group + 0] += top[block] * partial[4 * group + 0];
        final[4 * group + 1] += top[block] * partial[4 * group + 1];
        final[4 * group + 2] += bottom[block] * partial[4 * group + 2];
        final[4 * group + 3] += bottom[block] * partial[4 * group + 3];
    }
}

// Where the consumers split K, all hold sums of the same 64 rows: consumer 0 adds the others' to its own, in order.
__device__ __forceinline__ void reduce_k_split(SharedStorage& shared, float (&final)[ACCUMULATORS], uint32_t k_rank) {
    float* sums = shared.sums + threadIdx.x % 128;  // a thread of each consumer holds the same elements
    if (k_rank > 0) {
#pragma unroll
        for (uint32_t i = 0; i < ACCUMULATORS; ++i) sums[((k_rank - 1) * ACCUMULATORS + i) * 128] = final[i];
    }
    ptx::bar_sync(1, NUM_CONSUMERS * 128);
    if (k_rank == 0) {
#pragma unroll
        for (uint32_t rank = 1; rank < K_SPLIT; ++rank)
#pragma unroll
            for (uint32_t i = 0; i < ACCUMULATORS; ++i) final[i] += sums[((rank - 1) * ACCUMULATORS + i) * 128];
    }
    ptx::bar_sync(1, NUM_CONSUMERS * 128);  // read before the next tile's sums come
}

// Whether a tile of this product begins at `position` of a 128-block. Idle halves of clusters count: they run along.
__device__ constexpr bool occurs(uint32_t position) {
    constexpr uint32_t STEP = BLOCK_N * CLUSTER_N;
    constexpr uint32_t COLUMNS = min_of(ceil_div(SHAPE_N, STEP) * STEP, 128 / POSITION_STEP * BLOCK_N);
    for (uint32_t column = 0; column < COLUMNS; column += BLOCK_N)
        if (column % 128 == position) return true;
    return false;
}

// Calls body(Constant<POSITION>) for the position of this tile. Tiles inside one 128-block share the code of position 0.
template <uint32_t POSITION = 0, typename Body>
__device__ __forceinline__ void dispatch_position(uint32_t column, Body&& body) {
    if constexpr (128 % BLOCK_N == 0 || BLOCK_N % 128 == 0) {
        body(Constant<0>{});
    } else if constexpr (POSITION < 128) {
        if constexpr (occurs(POSITION)) {
            if (column % 128 == POSITION) return body(Constant<POSITION>{});
        }
        dispatch_position<POSITION + POSITION_STEP>(column, body);
    }
}
