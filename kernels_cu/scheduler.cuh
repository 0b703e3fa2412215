// The only place that maps a block to rows and columns of D; producer and epilogue both ask it.
#pragma once
#include "pipeline.cuh"

struct Tile {
    uint32_t row;         // first row of A and D
    uint32_t column;      // first row of B, first column of D
    uint32_t valid_rows;  // rows of the tile that exist; 0 for the idle half of an odd cluster
};

static_assert(CLUSTER_M == 1 || CLUSTER_N == 1, "a cluster shares A or B, not both");

// Persistent: cluster i computes tiles i, i + clusters, … of a raster that walks RASTER_M tiles down, then one to the
// right, so that a wave covers a compact piece of D and finds its rows of A and B in the L2.
struct Scheduler {
    uint32_t rows;
    uint32_t next_tile;
    uint32_t rank_m;
    uint32_t rank_n;

    static constexpr uint32_t TILES_N = ceil_div(SHAPE_N, BLOCK_N * CLUSTER_N);

    __device__ __forceinline__ explicit Scheduler(uint32_t m) : rows(m), next_tile(blockIdx.x / CLUSTER_SIZE) {
        const uint32_t rank = CLUSTER_SIZE == 1 ? 0 : ptx::cluster_ctarank();
        rank_m = CLUSTER_M == 1 ? 0 : rank;
        rank_n = CLUSTER_N == 1 ? 0 : rank;
    }

    __device__ __forceinline__ bool next(Tile& tile) {
        const uint32_t tiles_m = ceil_div(rows, BLOCK_M * CLUSTER_M);
        if (next_tile >= tiles_m * TILES_N) return false;
        const uint32_t band = next_tile / (RASTER_M * TILES_N);
        const uint32_t in_band = next_tile % (RASTER_M * TILES_N);
        const uint32_t height = min_of(RASTER_M, tiles_m - band * RASTER_M);  // the last band is lower
        tile.row = ((band * RASTER_M + in_band % height) * CLUSTER_M + rank_m) * BLOCK_M;
        tile.column = (in_band / height * CLUSTER_N + rank_n) * BLOCK_N;
        tile.valid_rows = tile.row < rows && tile.column < SHAPE_N ? min_of(rows - tile.row, BLOCK_M) : 0;
        next_tile += gridDim.x / CLUSTER_SIZE;
        return true;
    }
};
