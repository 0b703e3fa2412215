// D[M, N] = (A · sfa) · (B · sfb)ᵀ: FP8 E4M3 operands, FP32 scales for 1×128 of A and 128×128 of B, BF16 result. With
// groups, each has rows of its own and its own B.
//
// A persistent kernel: one producer warpgroup, which keeps a ring of stages in shared memory filled, and one, two or four
// consumer warpgroups, which multiply on the tensor cores and promote each 128 of K to FP32 on the CUDA cores. While one
// consumer promotes, the tensor cores work for the others. docs/kernel.md walks through it.
#include "config.cuh"
#include "consumer.cuh"
#include "epilogue.cuh"
#include "in_flight.cuh"
#include "k_split.cuh"
#include "next_tile.cuh"
#include "overlap.cuh"
#include "pipeline.cuh"
#include "promotion.cuh"
#include "ptx/cp_async_bulk_tensor.cuh"
#include "ptx/griddepcontrol.cuh"
#include "ptx/wgmma.cuh"
#include "scheduler.cuh"
#include "segments.cuh"
#include "wgmma_mma.cuh"

constexpr uint32_t STAGES_USED = min_of(NUM_STAGES, NUM_K_BLOCKS);
// K-blocks of its first tile that a CTA begins before its roles part. With more of them the other warps wait longer; clusters
// that multicast become slower by it (docs/performance.md), and of CONTIGUOUS the first round may pass over its block.
constexpr uint32_t AT_ONCE = BEGINS_EARLY                            ? STAGES_USED
                             : SHARERS > 1 || GROUPING == CONTIGUOUS ? 0
                                                                     : min_of(STAGES_USED, 2);
constexpr uint32_t DRAW_AT = NUM_K_BLOCKS > 3 ? NUM_K_BLOCKS - 3 : 0;  // the answer takes as long as two or three k-blocks

static_assert(NUM_CONSUMERS == 1 || NUM_CONSUMERS == 2 || NUM_CONSUMERS == 4, "CONSUMER_REGISTERS knows these");
static_assert(NUM_STAGES % K_SPLIT == 0, "each consumer has as many stages");
static_assert(!HAS_SEGMENTS || K_SPLIT <= 2, "where a tile begins in the ring would tell the order of its sums");
static_assert(CLUSTER_K == 1 || NUM_SLICES == 1, "a warp has 16 rows of a tile");
static_assert(CLUSTER_K == 1 || GROUPING == DENSE, "no consumer skips a tile whose sums are counted");
static_assert(BLOCK_M / CLUSTER_N % BOX_M == 0 && BOX_M % 8 == 0, "boxes fill a CTA's share, in whole swizzle atoms");
static_assert(!READS_B_ONCE || CLUSTER_M == 1, "a peer wants the same rows of B");
static_assert(AT_ONCE == 0 || GROUPING != CONTIGUOUS, "its rounds count blocks that are passed over");
static_assert(CLUSTER_N == 1 || BOX_M == BLOCK_M / CLUSTER_N, "a CTA copies rows for its peer, also where it has no columns");

// 64K registers: what the producer gives up, the consumers hold their accumulators in.
constexpr uint32_t PRODUCER_REGISTERS = GROUPING == DENSE ? 40 : 56;  // groups have more to be remembered
constexpr uint32_t CONSUMER_REGISTERS = NUM_CONSUMERS == 1 ? 248 : NUM_CONSUMERS == 4 ? 104 : GROUPING == DENSE ? 232 : 224;

// ---- producer, warp 0: A, B and the scales of A, by the copy engine ---------------------------------------------------

// With a cluster along M its two CTAs need the same rows of B, unless their blocks of rows are of two groups (CONTIGUOUS):
// each fetches half, and both receive both. Along N, so for A.
struct Loader {
    SharedStorage& shared;
    const Scheduler& scheduler;
    const Groups& groups;
    const TensorMap &map_a, &map_b, &map_sfa;

    static constexpr uint32_t ROWS_A = BLOCK_M / CLUSTER_N, ROWS_B = BLOCK_N / CLUSTER_M;
    static constexpr uint16_t ALL = (1 << SHARERS) - 1;
    static constexpr bool ENDS_IN_TILE = BOX_M < ROWS_A;  // a group may, between two boxes

    // A box has no more rows than A: rows of zeros from beyond its edge hold all SMs up (docs/performance.md). Nor is one
    // copied that lies beyond the end of the tile's group.
    __device__ __forceinline__ void announce(uint32_t stage, const Tile& tile) const {
        const uint32_t boxes = ENDS_IN_TILE ? ceil_div(tile.valid_rows, BOX_M) : CLUSTER_N;
        const uint32_t copied_a = boxes * min_of(scheduler.rows, BOX_M);
        const uint32_t copied_sfa = ceil_div(min_of(scheduler.rows, BLOCK_M), 4) * 4;
        const uint32_t stage_bytes = (copied_a + BLOCK_N) * BLOCK_K + copied_sfa * sizeof(float);
        ptx::mbarrier_arrive_expect_tx(&shared.full[stage], stage_bytes);
    }

    __device__ __forceinline__ void load_b(uint32_t stage, const Tile& tile, uint32_t k) const {
        uint64_t* full = &shared.full[stage];
        const uint32_t row = tile.column + tile.group * groups.b;
        if constexpr (READS_B_ONCE)
            ptx::cp_async_bulk_tensor_2d_evict_first(shared.b[stage], map_b, full, k * BLOCK_K, row);
        else if constexpr (CLUSTER_M == 1)
            ptx::cp_async_bulk_tensor_2d(shared.b[stage], map_b, full, k * BLOCK_K, row);
        else if (GROUPING == CONTIGUOUS && scheduler.peer_group != tile.group)  // blocks of two groups: each its own B
            for (uint32_t half = 0; half < CLUSTER_M; ++half)
                ptx::cp_async_bulk_tensor_2d(shared.b[stage] + half * ROWS_B * BLOCK_K, map_b, full, k * BLOCK_K,
                                             row + half * ROWS_B);
        else
            ptx::cp_async_bulk_tensor_2d_multicast(shared.b[stage] + scheduler.rank_m * ROWS_B * BLOCK_K, map_b, full,
                                                   k * BLOCK_K, row + scheduler.rank_m * ROWS_B, ALL);
    }

    __device__ __forceinline__ void load_a(uint32_t stage, const Tile& tile, uint32_t k) const {
        uint64_t* full = &shared.full[stage];
        const uint32_t row = tile.row + (OWN_ROWS ? tile.group * groups.a : 0);
        ptx::cp_async_bulk_tensor_2d(shared.sfa[stage], map_sfa, full,
                                     tile.row + (OWN_ROWS ? tile.group * groups.sfa : 0), k);
#pragma unroll
        for (uint32_t first = scheduler.rank_n * ROWS_A; first < (scheduler.rank_n + 1) * ROWS_A; first += BOX_M) {
            uint8_t* box = shared.a[stage] + first * BLOCK_K;
            if (ENDS_IN_TILE && first >= tile.valid_rows) break;
            if constexpr (CLUSTER_N == 1)
                ptx::cp_async_bulk_tensor_2d(box, map_a, full, k * BLOCK_K, row + first);
            else
                ptx::cp_async_bulk_tensor_2d_multicast(box, map_a, full, k * BLOCK_K, row + first, ALL);
        }
    }

    // Of the CTA's first tile, before its roles part: all, or what may be read while the kernel before this one still runs.
    __device__ __forceinline__ void begin(const Tile& tile) const {
        const uint32_t first_k = scheduler.rank_k * NUM_K_BLOCKS;
#pragma unroll 1
        for (uint32_t k = 0; k != AT_ONCE; ++k) {
            if constexpr (MAY_BEGIN_B) announce(k, tile);
            if constexpr (MAY_BEGIN_A) load_a(k, tile, first_k + k);
            if constexpr (MAY_BEGIN_B)
                load_b(k, tile, first_k + k);
            else
                ptx::cp_async_bulk_prefetch_tensor_2d(map_b, (first_k + k) * BLOCK_K,
                                                      tile.column + tile.group * groups.b + scheduler.rank_m * ROWS_B);
        }
    }
};

// ---- producer, warp 1: the scales of B --------------------------------------------------------------------------------

// By ordinary loads, since a scale is 4 bytes and the copy engine moves 16: lane i reads those of k-block i of each 32.
// Where a tile has one, that lane writes it; else lane j writes the one of columns j * SFB_COLUMNS … of the tile.
__device__ __forceinline__ void load_sfb(SharedStorage& shared, Pipeline& pipeline, const Tile& tile, const float* sfb,
                                         uint32_t stride_n, uint32_t stride_k, uint32_t lane) {
    constexpr uint32_t BLOCKS_N = ceil_div(SHAPE_N, 128), TOUCHED = ceil_div(128 - SFB_COLUMNS + BLOCK_N, 128);
    const uint32_t first = tile.column / 128, mine = (tile.column + lane * SFB_COLUMNS) / 128 - first;
    float loaded[TOUCHED], scales[TOUCHED];
#pragma unroll 1
    for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance()) {
        if (k % 32 == 0 && k + lane < NUM_K_BLOCKS) {
#pragma unroll
            for (uint32_t i = 0; i < TOUCHED; ++i)
                loaded[i] = load_settled(sfb + min_of(first + i, BLOCKS_N - 1) * stride_n + (k + lane) * stride_k);
        }
#pragma unroll
        for (uint32_t i = 0; i < TOUCHED; ++i)
            scales[i] = NUM_SFB == 1 ? loaded[i] : __shfl_sync(0xffffffff, loaded[i], k % 32);
        pipeline.wait_empty(shared);
        __syncwarp();  // a lane that ran ahead, or asks after others have arrived, would take another phase for its own
        if (NUM_SFB == 1 ? lane == k % 32 : lane < NUM_SFB) {
            float scale = scales[0];
#pragma unroll
            for (uint32_t i = 1; i < TOUCHED; ++i) scale = i == mine ? scales[i] : scale;
            shared.sfb[pipeline.stage][NUM_SFB == 1 ? 0 : lane] = scale;
            ptx::mbarrier_arrive(&shared.full[pipeline.stage]);
        }
    }
}

// ---- consumer: one warpgroup's slices of one k-block --------------------------------------------------------------------

__device__ __forceinline__ void multiply_stage(SharedStorage& shared, const Pipeline& pipeline, Operands& next,
                                               uint32_t first_row, uint32_t row,
                                               float (&final)[NUM_SLICES][ACCUMULATORS]) {
    const Operands operands = next;
    if (!operands.full) pipeline.wait_full(shared);

    float sfb[NUM_SFB];
#pragma unroll
    for (uint32_t i = 0; i < NUM_SFB; ++i) sfb[i] = operands.sfb[i];

#pragma unroll
    for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
        const bool last = slice + 1 == NUM_SLICES;
        float sfa_top = operands.sfa[slice * DOWN], sfa_bottom = operands.sfa[slice * DOWN + 8];

        float partial[ACCUMULATORS];
        ptx::wgmma_fence();
        ptx::wgmma_k128(partial, operands.a + slice * DOWN * (BLOCK_K / 16),
                        operands.b + slice * RIGHT * (BLOCK_K / 16));
        ptx::wgmma_commit_group();
        if (last) next = locate(shared, pipeline.ahead(K_SPLIT), first_row, row);
        ptx::wgmma_wait_group<0>(sfa_top, sfa_bottom);
        if (last) pipeline.release(shared);  // operands and scales are read

        promote(final[slice], partial, sfa_top, sfa_bottom, sfb + slice * RIGHT / SFB_COLUMNS);
    }
}

// ---- the kernel -----------------------------------------------------------------------------------------------------------

extern "C" __global__ void CLUSTER_DIMS __launch_bounds__(NUM_THREADS, 1)
    fp8_gemm(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
             const __grid_constant__ TensorMap map_sfa, const __grid_constant__ TensorMap map_d, const float* sfb,
             bfloat16_t* d, uint64_t d_stride, uint32_t sfb_stride_n, uint32_t sfb_stride_k, uint32_t m,
             const Groups groups) {
    extern __shared__ __align__(SWIZZLE_ATOM) uint8_t shared_bytes[];
    SharedStorage& shared = *reinterpret_cast<SharedStorage*>(shared_bytes);
    const uint32_t warpgroup = __shfl_sync(0xffffffff, threadIdx.x / 128, 0);  // a shuffle tells the compiler it is uniform
    const uint32_t warp = __shfl_sync(0xffffffff, threadIdx.x / 32 % 4, 0);
    const uint32_t lane = threadIdx.x % 32;

    const bool is_loader = warpgroup == NUM_CONSUMERS && warp == 0;
    if (is_loader && ptx::elect_sync()) {
        ptx::prefetch_tensormap(map_a);
        ptx::prefetch_tensormap(map_b);
        ptx::prefetch_tensormap(map_sfa);
        ptx::prefetch_tensormap(map_d);
        init_barriers(shared);
    }
    if constexpr (WAITS_FIRST) ptx::griddepcontrol_wait();
    if (HAS_SEGMENTS && is_loader) list_segments(shared, groups.layout, m, lane);
    __syncwarp();

    arrive_at_start(is_loader);
    if constexpr (SHARERS > 1) wait_at_start(is_loader);  // what is copied goes to a peer, too
    if (AT_ONCE > 0 && is_loader && ptx::elect_sync()) {
        Scheduler first(shared, groups.layout, m);
        Tile tile;
        if (first.next(tile)) Loader{shared, first, groups, map_a, map_b, map_sfa}.begin(tile);
    }
    if constexpr (SHARERS == 1) wait_at_start(is_loader);

    Scheduler scheduler(shared, groups.layout, m);
    Pipeline pipeline;
    Tile tile;

    if (warpgroup == NUM_CONSUMERS) {
        ptx::setmaxnreg_dec<PRODUCER_REGISTERS>();
        const uint32_t first_k = scheduler.rank_k * NUM_K_BLOCKS;
        if (warp == 0 && ptx::elect_sync()) {
            const Loader loader{shared, scheduler, groups, map_a, map_b, map_sfa};
            bool has_tile = scheduler.next(tile);
            // Also in a CTA without a tile: the next kernel takes this one's end for the other's.
            if constexpr (BEGINS_EARLY) ptx::griddepcontrol_wait();
            for (; has_tile; has_tile = scheduler.next(tile)) {
                uint32_t drawn = 0;
                const uint32_t begun = scheduler.round == 1 ? AT_ONCE : 0;
#pragma unroll 1
                for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance()) {
                    const bool has_a = MAY_BEGIN_A && k < begun, has_b = MAY_BEGIN_B && k < begun;
                    if (!has_b) pipeline.wait_empty(shared);
                    if (k == DRAW_AT) drawn = scheduler.draw(groups.draws);
                    if (!has_b) loader.announce(pipeline.stage, tile);
                    if (!has_a) loader.load_a(pipeline.stage, tile, first_k + k);
                    if (!has_b) loader.load_b(pipeline.stage, tile, first_k + k);
                }
                if constexpr (HAS_SEGMENTS) scheduler.announce(drawn);
            }
            if constexpr (OVERLAP != ALONE) ptx::griddepcontrol_launch_dependents();
        } else if (warp == 1) {
            if constexpr (!MAY_BEGIN_B) ptx::griddepcontrol_wait();  // nor may its scales be read
            sfb += first_k * sfb_stride_k;
            while (scheduler.next(tile))
                load_sfb(shared, pipeline, tile, sfb + tile.group * groups.sfb, sfb_stride_n, sfb_stride_k, lane);
        }
    } else {
        ptx::setmaxnreg_inc<CONSUMER_REGISTERS>();
        Epilogue epilogue{map_d, d, d_stride, shared.d[warpgroup * 4 + warp], lane};
        const uint32_t row_group = K_SPLIT == 1 ? warpgroup : 0, k_rank = K_SPLIT == 1 ? 0 : warpgroup;
        const uint32_t first_row = row_group * 64, warp_row = warp * 16, row = first_row + warp_row + lane / 4;
        const uint32_t sum_warp = row_group * 4 + warp;
        if constexpr (MULTIPLIES_AHEAD) {
            AheadConsumer{shared, scheduler, epilogue, groups, first_row, warp_row, row}.consume();
        } else {
            Operands next;
            if constexpr (IN_FLIGHT == 1) next = locate(shared, pipeline.ahead(k_rank), first_row, row);
            while (scheduler.next(tile)) {
                const uint64_t valid_rows = scheduler.valid_rows(tile, first_row);
                if (GROUPING != DENSE && valid_rows == 0) {
                    skip_tile(shared, pipeline, k_rank);
                    const Pipeline own = pipeline.ahead((k_rank + K_SPLIT - pipeline.stage % K_SPLIT) % K_SPLIT);
                    if constexpr (IN_FLIGHT == 1) next = locate(shared, own, first_row, row);
                    continue;
                }
                const uint32_t warp_rows = valid_rows >> warp_row & 0xffff;
                const uint32_t row_d = tile.row + first_row + warp_row + (OWN_ROWS ? tile.group * groups.d : 0);

                float final[NUM_SLICES][ACCUMULATORS] = {};
                if constexpr (IN_FLIGHT > 1) {
                    multiply_tile_in_flight(shared, pipeline, first_row, row, final);
                } else {
#pragma unroll K_UNROLL
                    for (uint32_t k = 0; k < NUM_K_BLOCKS; ++k, pipeline.advance())
                        if (pipeline.stage % K_SPLIT == k_rank)  // as phases demand, a stage is always the same consumer's
                            multiply_stage(shared, pipeline, next, first_row, row, final);
                }
                if constexpr (K_SPLIT > 1) {
                    reduce_k_split(shared, final[0], k_rank);
                    if (k_rank > 0) continue;
                }
                if constexpr (CLUSTER_K > 1)
                    if (!reduce_cluster(shared, final[0], scheduler.rank_k, sum_warp, lane, scheduler.round)) continue;
#pragma unroll
                for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
                    const uint32_t slice_row = slice * DOWN;
                    const uint32_t rows =
                        slice_row == 0 ? warp_rows : scheduler.valid_rows(tile, first_row + slice_row) >> warp_row & 0xffff;
                    epilogue.store(final[slice], row_d + slice_row, tile.column + slice * RIGHT, rows);
                }
            }
            if (CLUSTER_K > 1 && k_rank == 0) end_cluster(shared, scheduler.rank_k, sum_warp, scheduler.round);
        }
        ptx::cp_async_bulk_wait_group_read<0>();  // the copy engine still reads this CTA's shared memory
    }
    if constexpr (SHARERS > 1) {  // a peer may still write or arrive here
        ptx::barrier_cluster_arrive_release();
        ptx::barrier_cluster_wait();
    }
}
