// For consumers that start the first multiplications of their next tile before they store the one that is done
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

    // Each slice of a tile is stored while the tensor cores work on the same slice of the next tile's first k-block.
    __device__ __forceinline__ void consume() {
        Tile tile;
        float final[NUM_SLICES][ACCUMULATORS] = {};
        uint32_t row_d = 0, column_d = 0, rows[NUM_SLICES] = {};  // where they go, once a tile is done
        next = locate(shared, pipeline, first_row, row);
        while (true) {
            const bool is_left = begin_tile(tile);
            const Operands operands = next;
#pragma unroll
            for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) {
                epilogue.store(final[slice], row_d + slice * DOWN, column_d + slice * RIGHT, rows[slice]);
#pragma unroll
                for (float& sum : final[slice]) sum = 0;
                finish_slice(slice, operands, final, is_left);
            }
            if (!is_left) return;
#pragma unroll K_UNROLL
            for (uint32_t k = 1; k < NUM_K_BLOCKS; ++k) {
                begin_stage(true);
                finish_stage(final);
            }
            row_d = tile.row + first_row + warp_row + (OWN_ROWS ? tile.group * groups.d : 0);
            column_d = tile.column;
#pragma unroll
            for (uint32_t slice = 0; slice < NUM_SLICES; ++slice)
                rows[slice] = scheduler.valid_rows(tile, first_row + slice * DOWN) >> warp_row & 0xffff;
        }
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
        for (uint32_t slice = 0; slice < NUM_SLICES; ++slice) finish_slice(slice, operands, final, true);
    }

    __device__ __forceinline__ void finish_slice(uint32_t slice, const Operands& operands,
                                                 float (&final)[NUM_SLICES][ACCUMULATORS], bool has_stage) {
        const bool last = slice + 1 == NUM_SLICES;
        if (last) next = locate(shared, pipeline.ahead(1), first_row, row);
        finish<0>(shared, pipeline, under_way, slice, final, has_stage);
        if (!last) start(under_way, operands, slice + 1);
    }
};
