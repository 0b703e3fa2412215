// For consumers that start the first multiplication of their next tile before they store the one that is done
// (MULTIPLIES_AHEAD): the tensor cores work while they convert and store.
#pragma once
#include "epilogue.cuh"
#include "in_flight.cuh"
#include "scheduler.cuh"

static_assert(!MULTIPLIES_AHEAD || (IN_FLIGHT == 1 && K_SPLIT == 1 && CLUSTER_K == 1), "what is under way is one tile's");

// One consumer, from its first tile to its last.
struct AheadConsumer {
    SharedStorage& shared;
    Scheduler& scheduler;
    Epilogue& epilogue;
    const Groups& groups;
    uint32_t first_row;  // of the tile, that is this consumer's
    uint32_t warp_row;   // of these, that is the warp's
    uint32_t row;        // of the tile, that is the thread's

    Pipeline pipeline{};
    Operands next{};
    Multiplication under_way{};

    __device__ __forceinline__ void consume() {
        Tile tile;
        next = locate(shared, pipeline, first_row, row);
        bool is_left = begin_tile(tile);
        while (is_left) {
            float final[NUM_SLICES][ACCUMULATORS] = {};
#pragma unroll K_UNROLL
            for (uint32_t k = 0; k + 1 < NUM_K_BLOCKS; ++k) {
                finish_stage(final);
                begin_stage(true);
            }
            finish_stage(final);

            const uint32_t row_d = tile.row + first_row + warp_row + (OWN_ROWS ? tile.group * groups.d : 0);
            const uint32_t column_d = tile.column;
            uint32_t rows[NUM_SLICES];
#pragma unroll
            for (uint32_t slice = 0; slice < NUM_SLICES; ++slice)
                rows[slice] = scheduler.valid_rows(tile, first_row + slice * DOWN) >> warp_row & 0xffff;
            is_left = begin_tile(tile);
#pragma unroll
            for (uint32_t slice = 0; slice < NUM_SLICES; ++slice)
                epilogue.store(final[slice], row_d + slice * DOWN, column_d + slice * RIGHT, rows[slice]);
        }
        ptx::wgmma_wait_group<0>(under_way.sfa_top, under_way.sfa_bottom);
    }

    __device__ __forceinline__ bool begin_tile(Tile& tile) {
        bool is_left = scheduler.next(tile);
        while (GROUPING != DENSE && is_left && scheduler.valid_rows(tile, first_row) == 0) {
            skip_tile(shared, pipeline, 0);
            next = locate(shared, pipeline, first_row, row);
            is_left = scheduler.next(tile);
        }
        begin_stage(is_left);
        return is_left;
    }

    // The first slice of the next stage. Where no tile is left none comes, and what is multiplied then nobody reads: around a
    // branch the compiler would wait for it (its C7517).
    __device__ __forceinline__ void begin_stage(bool is_left) {
        if (is_left && !next.full) pipeline.wait_full(shared);
        start(under_way, next, 0);
    }

    __device__ __forceinline__ void finish_stage(float (&final)[NUM_SLICES][ACCUMULATORS]) {
        const Operands operands = next;
#pragma unroll
        for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
            const bool last = slice + 1 == NUM_SLICES;
            if (last) next = locate(shared, pipeline.ahead(1), first_row, row);
            finish<0>(shared, pipeline, under_way, slice, final);
            if (!last) start(under_way, operands, slice + 1);
        }
    }
};
