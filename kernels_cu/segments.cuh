// Which rows belong to which group, where only the device knows: each CTA reads the layout once, before its first tile.
#pragma once
#include "overlap.cuh"
#include "shared_storage.cuh"

constexpr uint32_t GROUPS_AT_ONCE = 8;  // that a lane reads: as many loads are under way

// First row and rows of a group; what lies outside the m rows that exist is no rows.
__device__ __forceinline__ uint2 rows_of_group(const int32_t* layout, uint32_t group, uint32_t m) {
    if (group >= NUM_GROUPS) return {0, 0};
    uint32_t begin = 0, end = load_settled(layout + group);  // a negative number is a large one
    if constexpr (GROUPING == OFFSETS) {
        begin = end;
        end = load_settled(layout + group + 1);
    } else if constexpr (GROUPING == PSUM) {
        const uint32_t before = group == 0 ? 0 : load_settled(layout + group - 1);
        begin = before <= m ? ceil_div(before, ALIGNMENT) * ALIGNMENT : m;
    }
    return begin < end && end <= m ? make_uint2(begin, end - begin) : make_uint2(0, 0);
}

// By one warp, before the CTA's roles part: the groups that have rows, in order, and an empty one behind them.
__device__ __forceinline__ void list_segments(SharedStorage& shared, const int32_t* layout, uint32_t m, uint32_t lane) {
    uint32_t tiles = 0, count = 0;  // of the groups before
#pragma unroll 1
    for (uint32_t first = 0; first < NUM_GROUPS; first += 32 * GROUPS_AT_ONCE) {
        uint2 rows[GROUPS_AT_ONCE];
#pragma unroll
        for (uint32_t i = 0; i < GROUPS_AT_ONCE; ++i) rows[i] = rows_of_group(layout, first + i * 32 + lane, m);
#pragma unroll
        for (uint32_t i = 0; i < GROUPS_AT_ONCE; ++i) {
            const uint32_t own_tiles = rows[i].y == 0 ? 0 : count_tiles_m(lead(rows[i].x) + rows[i].y) * TILES_N;
            uint32_t end_tile = own_tiles;
#pragma unroll
            for (uint32_t step = 1; step < 32; step *= 2) {
                const uint32_t other = __shfl_up_sync(0xffffffff, end_tile, step);
                end_tile += lane >= step ? other : 0;
            }
            const uint32_t present = __ballot_sync(0xffffffff, rows[i].y > 0);
            const uint32_t position = count + __popc(present & ((1u << lane) - 1));
            if (rows[i].y > 0)
                shared.segments[position] = {tiles + end_tile - own_tiles, first + i * 32 + lane, rows[i].x, rows[i].y};
            tiles += __shfl_sync(0xffffffff, end_tile, 31);
            count += __popc(present);
        }
    }
    if (lane == 0) {
        shared.segments[count] = {tiles, 0, 0, 0};
        shared.num_tiles = tiles;
    }
}
