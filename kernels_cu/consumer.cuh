// What a consumer multiplies: its slices of a tile, and where a stage of the ring holds their operands.
#pragma once
#include "pipeline.cuh"
#include "ptx/wgmma.cuh"

constexpr uint32_t NUM_K_BLOCKS = ceil_div(SHAPE_K, BLOCK_K) / CLUSTER_K;  // of one CTA

// The consumers divide the rows of a tile, or, where it has only 64, its k-blocks.
constexpr uint32_t ROW_GROUPS = NUM_CONSUMERS / K_SPLIT;
constexpr uint32_t SLICE_ROWS = 64 * ROW_GROUPS;  // of a tile: each consumer multiplies 64 of them at a time
constexpr uint32_t SLICES_M = BLOCK_M / SLICE_ROWS, SLICES_N = BLOCK_N / WGMMA_N, NUM_SLICES = SLICES_M * SLICES_N;
constexpr uint32_t DOWN = SLICES_M == 1 ? 0 : SLICE_ROWS, RIGHT = SLICES_N == 1 ? 0 : WGMMA_N;  // from slice to slice
static_assert(SLICES_M == 1 || SLICES_N == 1, "a tile is sliced along M or along N");
static_assert(ceil_div(SHAPE_K, BLOCK_K) % CLUSTER_K == 0, "each CTA of a cluster has as many k-blocks");
static_assert(K_SPLIT == 1 || (K_SPLIT == NUM_CONSUMERS && BLOCK_M == 64), "K is split among all consumers of 64 rows");

// What a thread must know of a stage before it can multiply.
struct Operands {
    uint32_t a, b;     // tiles: the consumer's first rows of A, all rows of B, as descriptors hold an address
    const float* sfa;  // of the thread's first row
    const float* sfb;
    bool full;  // they are there, and need not be waited for
};

__device__ __forceinline__ Operands locate(SharedStorage& shared, const Pipeline& pipeline, uint32_t first_row,
                                           uint32_t row) {
    constexpr uint32_t STAGE_A = BLOCK_M * BLOCK_K / 16, STAGE_B = BLOCK_N * BLOCK_K / 16;  // in a descriptor's units
    return {ptx::wgmma_address(shared.a[0]) + pipeline.stage * STAGE_A + first_row * (BLOCK_K / 16),
            ptx::wgmma_address(shared.b[0]) + pipeline.stage * STAGE_B,
            &shared.sfa[pipeline.stage][row],
            shared.sfb[pipeline.stage],
            K_SPLIT == 1 && pipeline.is_full(shared)};  // asking did not pay where K is split
}

// What a consumer does for a tile of which it has no rows: it takes the stages that are its own, and hands them back.
__device__ __forceinline__ void skip_tile(SharedStorage& shared, Pipeline& pipeline, uint32_t k_rank) {
#pragma unroll 1
    for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance()) {
        if (pipeline.stage % K_SPLIT != k_rank) continue;
        pipeline.wait_full(shared);
        pipeline.release(shared);
    }
}
