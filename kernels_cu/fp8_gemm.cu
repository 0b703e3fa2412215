// D[M, N] = (A · sfa) · (B · sfb)ᵀ: FP8 E4M3 operands, FP32 scales for 1×128 of A and 128×128 of B, BF16 result.
//
// A persistent kernel: one producer warpgroup, which keeps a ring of stages in shared memory filled, and one, two or four
// consumer warpgroups, which multiply on the tensor cores and promote each 128 of K to FP32 on the CUDA cores. While one
// consumer promotes, the tensor cores work for the others. docs/kernel.md walks through it.
#include "config.cuh"
#include "epilogue.cuh"
#include "pipeline.cuh"
#include "promotion.cuh"
#include "ptx/cp_async_bulk_tensor.cuh"
#include "ptx/wgmma.cuh"
#include "scheduler.cuh"
#include "wgmma_mma.cuh"

constexpr uint32_t NUM_K_BLOCKS = ceil_div(SHAPE_K, BLOCK_K);

// The consumers divide the rows of a tile, or, where it has only 64, its k-blocks.
constexpr uint32_t ROW_GROUPS = NUM_CONSUMERS / K_SPLIT;
constexpr uint32_t NUM_SLICES = BLOCK_M / (64 * ROW_GROUPS);  // of 64 rows, for each consumer warpgroup
static_assert(NUM_CONSUMERS == 1 || NUM_CONSUMERS == 2 || NUM_CONSUMERS == 4, "CONSUMER_REGISTERS knows these");
static_assert(NUM_STAGES % K_SPLIT == 0, "each consumer has as many stages");
static_assert(K_SPLIT == 1 || (K_SPLIT == NUM_CONSUMERS && BLOCK_M == 64), "K is split among all consumers of 64 rows");
constexpr uint32_t NUM_THREADS = 128 * (NUM_CONSUMERS + 1);

// 64K registers: what the producer gives up, the consumers hold their accumulators in.
constexpr uint32_t PRODUCER_REGISTERS = 40;
constexpr uint32_t CONSUMER_REGISTERS = NUM_CONSUMERS == 1 ? 248 : NUM_CONSUMERS == 2 ? 232 : 104;

// ---- producer, warp 0: A, B and the scales of A, by the copy engine ---------------------------------------------------

// With a cluster along M its two CTAs need the same rows of B: each fetches half, and both receive both. Along N, so for A.
__device__ __forceinline__ void load_stage(SharedStorage& shared, const Pipeline& pipeline, const Tile& tile, uint32_t k,
                                           const Scheduler& scheduler, const TensorMap& map_a, const TensorMap& map_b,
                                           const TensorMap& map_sfa) {
    constexpr uint32_t ROWS_A = BLOCK_M / CLUSTER_N, ROWS_B = BLOCK_N / CLUSTER_M;
    constexpr uint32_t STAGE_BYTES = (BLOCK_M + BLOCK_N) * BLOCK_K + BLOCK_M * sizeof(float);
    constexpr uint16_t ALL = (1 << CLUSTER_SIZE) - 1;
    const uint32_t stage = pipeline.stage;
    uint64_t* full = &shared.full[stage];

    ptx::mbarrier_arrive_expect_tx(full, STAGE_BYTES);
    ptx::cp_async_bulk_tensor_2d(shared.sfa[stage], map_sfa, full, tile.row, k);
    if constexpr (CLUSTER_N == 1)
        ptx::cp_async_bulk_tensor_2d(shared.a[stage], map_a, full, k * BLOCK_K, tile.row);
    else
        ptx::cp_async_bulk_tensor_2d_multicast(shared.a[stage] + scheduler.rank_n * ROWS_A * BLOCK_K, map_a, full,
                                               k * BLOCK_K, tile.row + scheduler.rank_n * ROWS_A, ALL);
    if constexpr (CLUSTER_M == 1)
        ptx::cp_async_bulk_tensor_2d(shared.b[stage], map_b, full, k * BLOCK_K, tile.column);
    else
        ptx::cp_async_bulk_tensor_2d_multicast(shared.b[stage] + scheduler.rank_m * ROWS_B * BLOCK_K, map_b, full,
                                               k * BLOCK_K, tile.column + scheduler.rank_m * ROWS_B, ALL);
}

// ---- producer, warp 1: the scales of B --------------------------------------------------------------------------------

// Lane i reads the scales of k-block i of each 32 with ordinary loads (a scale is 4 bytes, the copy engine moves 16) and
// writes them into their stage when it is free.
__device__ __forceinline__ void load_sfb(SharedStorage& shared, Pipeline& pipeline, const Tile& tile, const float* sfb,
                                         uint32_t stride_n, uint32_t stride_k, uint32_t lane) {
    constexpr uint32_t BLOCKS_N = ceil_div(SHAPE_N, 128);
    float scales[NUM_SFB];
#pragma unroll 1
    for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance()) {
        if (k % 32 == 0 && k + lane < NUM_K_BLOCKS) {
#pragma unroll
            for (uint32_t i = 0; i < NUM_SFB; ++i)
                scales[i] = __ldg(sfb + min_of(tile.column / 128 + i, BLOCKS_N - 1) * stride_n + (k + lane) * stride_k);
        }
        pipeline.wait_empty(shared);
        if (lane == k % 32) {
#pragma unroll
            for (uint32_t i = 0; i < NUM_SFB; ++i) shared.sfb[pipeline.stage][i] = scales[i];
            ptx::mbarrier_arrive(&shared.full[pipeline.stage]);
        }
        __syncwarp();  // a lane that ran a ring ahead would take the phase before for its own
    }
}

// ---- consumer: one warpgroup's slices of one k-block --------------------------------------------------------------------

// `full`: the stage is known to be full. Returns whether the next one is.
template <uint32_t POSITION>
__device__ __forceinline__ bool multiply_stage(SharedStorage& shared, const Pipeline& pipeline, bool full,
                                               uint32_t row_group, uint32_t warp, uint32_t lane,
                                               float (&final)[NUM_SLICES][ACCUMULATORS]) {
    constexpr uint32_t STAGE_A = BLOCK_M * BLOCK_K / 16, STAGE_B = BLOCK_N * BLOCK_K / 16;  // in a descriptor's units
    const uint32_t stage = pipeline.stage;
    if (!full) pipeline.wait_full(shared);
    full = false;

    float sfb[NUM_SFB];
#pragma unroll
    for (uint32_t i = 0; i < NUM_SFB; ++i) sfb[i] = shared.sfb[stage][i];

#pragma unroll
    for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
        const uint32_t row = (slice * ROW_GROUPS + row_group) * 64;
        const uint32_t a = ptx::wgmma_address(shared.a[0]) + stage * STAGE_A + row * (BLOCK_K / 16);
        const uint32_t b = ptx::wgmma_address(shared.b[0]) + stage * STAGE_B;
        const float* sfa = &shared.sfa[stage][row + warp * 16 + lane / 4];
        const float sfa_top = sfa[0], sfa_bottom = sfa[8];

        float partial[ACCUMULATORS];
        ptx::wgmma_fence();
#pragma unroll
        for (uint32_t k = 0; k < BLOCK_K; k += 32)
            ptx::wgmma_mma(partial, ptx::wgmma_descriptor(a + k / 16), ptx::wgmma_descriptor(b + k / 16), k != 0);
        ptx::wgmma_commit_group();
        if (K_SPLIT == 1 && slice + 1 == NUM_SLICES) full = pipeline.is_next_full(shared);
        ptx::wgmma_wait_group_0(partial);
        if (slice + 1 == NUM_SLICES) pipeline.release(shared);  // operands and scales are read

        promote<POSITION>(final[slice], partial, sfa_top, sfa_bottom, sfb);
    }
    return full;
}

// ---- the kernel -----------------------------------------------------------------------------------------------------------

extern "C" __global__ void __cluster_dims__(CLUSTER_SIZE, 1, 1) __launch_bounds__(NUM_THREADS, 1)
    fp8_gemm(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
             const __grid_constant__ TensorMap map_sfa, const __grid_constant__ TensorMap map_d, const float* sfb,
             bfloat16_t* d, uint64_t d_stride, uint32_t sfb_stride_n, uint32_t sfb_stride_k, uint32_t m) {
    extern __shared__ __align__(SWIZZLE_ATOM) uint8_t shared_bytes[];
    SharedStorage& shared = *reinterpret_cast<SharedStorage*>(shared_bytes);
    const uint32_t warpgroup = __shfl_sync(0xffffffff, threadIdx.x / 128, 0);  // a shuffle tells the compiler it is uniform
    const uint32_t warp = __shfl_sync(0xffffffff, threadIdx.x / 32 % 4, 0);
    const uint32_t lane = threadIdx.x % 32;

    if (threadIdx.x == 0) {
        ptx::prefetch_tensormap(map_a);
        ptx::prefetch_tensormap(map_b);
        ptx::prefetch_tensormap(map_sfa);
        ptx::prefetch_tensormap(map_d);
        init_barriers(shared);
    }
    sync_cluster();

    Scheduler scheduler(m);
    Pipeline pipeline;
    Tile tile;

    if (warpgroup == NUM_CONSUMERS) {
        ptx::setmaxnreg_dec<PRODUCER_REGISTERS>();
        if (warp == 0 && ptx::elect_sync()) {
            while (scheduler.next(tile))
#pragma unroll 1
                for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance()) {
                    pipeline.wait_empty(shared);
                    load_stage(shared, pipeline, tile, k, scheduler, map_a, map_b, map_sfa);
                }
        } else if (warp == 1) {
            while (scheduler.next(tile)) load_sfb(shared, pipeline, tile, sfb, sfb_stride_n, sfb_stride_k, lane);
        }
    } else {
        ptx::setmaxnreg_inc<CONSUMER_REGISTERS>();
        Epilogue epilogue{map_d, d, d_stride, shared.d[warpgroup * 4 + warp], lane};
        bool full = false;
        const uint32_t row_group = K_SPLIT == 1 ? warpgroup : 0, k_rank = K_SPLIT == 1 ? 0 : warpgroup;
        while (scheduler.next(tile)) {
            float final[NUM_SLICES][ACCUMULATORS] = {};
            dispatch_position(tile.column, [&](auto position) {
#pragma unroll K_UNROLL
                for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance())
                    if (pipeline.stage % K_SPLIT == k_rank)  // a stage is always the same consumer's, as its phases demand
                        full = multiply_stage<position.value>(shared, pipeline, full, row_group, warp, lane, final);
            });
            if constexpr (K_SPLIT > 1) {
                reduce_k_split(shared, final[0], k_rank);
                if (k_rank > 0) continue;
            }
#pragma unroll
            for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
                const uint32_t row = (slice * ROW_GROUPS + row_group) * 64 + warp * 16;
                const uint32_t valid_rows = tile.valid_rows > row ? min_of(tile.valid_rows - row, 16) : 0;
                epilogue.store(final[slice], tile.row + row, tile.column, valid_rows);
            }
        }
        ptx::cp_async_bulk_wait_group_read<0>();  // the copy engine still reads this CTA's shared memory
    }
    if constexpr (CLUSTER_SIZE > 1) sync_cluster();  // a peer may still write or arrive here
}
