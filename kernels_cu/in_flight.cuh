// For consumers with registers for two partial sums (IN_FLIGHT): the tensor cores work on one of them while the other is
// promoted. Such a consumer needs nobody to keep the tensor cores busy meanwhile.
#pragma once
#include "consumer.cuh"
#include "promotion.cuh"
#include "wgmma_mma.cuh"

static_assert(IN_FLIGHT == 1 || (IN_FLIGHT == 2 && K_SPLIT == 1), "the stages in a row are this consumer's");
static_assert(IN_FLIGHT == 1 || SLICES_N == 1, "a tile of two slices side by side has no registers for it");

// One slice of one k-block, and the scales that its sums will need: the stage is gone by then.
struct Multiplication {
    float partial[ACCUMULATORS];
    float sfa_top, sfa_bottom, sfb[WGMMA_SFB];
};

__device__ __forceinline__ void start(Multiplication& multiplication, const Operands& operands, uint32_t slice) {
#pragma unroll
    for (uint32_t i = 0; i < WGMMA_SFB; ++i) multiplication.sfb[i] = operands.sfb[slice * RIGHT / SFB_COLUMNS + i];
    multiplication.sfa_top = operands.sfa[slice * DOWN];
    multiplication.sfa_bottom = operands.sfa[slice * DOWN + 8];

    ptx::wgmma_fence();
    ptx::wgmma_k128(multiplication.partial, operands.a + slice * DOWN * (BLOCK_K / 16),
                    operands.b + slice * RIGHT * (BLOCK_K / 16));
    ptx::wgmma_commit_group();
}

// PENDING multiplications that were started after this one go on. `has_stage`: it was of a stage, which goes back.
template <int PENDING>
__device__ __forceinline__ void finish(SharedStorage& shared, Pipeline& pipeline, Multiplication& multiplication,
                                       uint32_t slice, float (&final)[NUM_SLICES][ACCUMULATORS], bool has_stage = true) {
    ptx::wgmma_wait_group<PENDING>(multiplication.sfa_top, multiplication.sfa_bottom);
    if (slice + 1 == NUM_SLICES) {
        if (has_stage) pipeline.release(shared);
        pipeline.advance();
    }
    promote(final[slice], multiplication.partial, multiplication.sfa_top, multiplication.sfa_bottom, multiplication.sfb);
}

// K_BLOCKS in a row. At their end nothing is under way: the compiler does not keep two multiplications apart across the end
// of a loop's body, but waits for each (its C7514).
template <uint32_t K_BLOCKS>
__device__ __forceinline__ void multiply_in_flight(SharedStorage& shared, Pipeline& pipeline, uint32_t first_row,
                                                   uint32_t row, float (&final)[NUM_SLICES][ACCUMULATORS]) {
    constexpr uint32_t COUNT = K_BLOCKS * NUM_SLICES;
    Multiplication under_way[2];
    Pipeline newest = pipeline;
    Operands operands;
#pragma unroll
    for (uint32_t i = 0; i < COUNT; ++i) {
        if (i % NUM_SLICES == 0) {
            operands = locate(shared, newest, first_row, row);
            if (!operands.full) newest.wait_full(shared);
            newest.advance();
        }
        start(under_way[i % 2], operands, i % NUM_SLICES);
        if (i > 0) finish<1>(shared, pipeline, under_way[(i - 1) % 2], (i - 1) % NUM_SLICES, final);
    }
    finish<0>(shared, pipeline, under_way[(COUNT - 1) % 2], NUM_SLICES - 1, final);
}

__device__ __forceinline__ void multiply_tile_in_flight(SharedStorage& shared, Pipeline& pipeline, uint32_t first_row,
                                                        uint32_t row, float (&final)[NUM_SLICES][ACCUMULATORS]) {
    constexpr uint32_t IN_ROUNDS = NUM_K_BLOCKS / K_UNROLL * K_UNROLL;
#pragma unroll 1
    for (uint32_t k = 0; k + K_UNROLL <= NUM_K_BLOCKS; k += K_UNROLL)
        multiply_in_flight<K_UNROLL>(shared, pipeline, first_row, row, final);
#pragma unroll 1
    for (uint32_t k = IN_ROUNDS; k < NUM_K_BLOCKS; ++k) multiply_in_flight<1>(shared, pipeline, first_row, row, final);
}
