// How one launch holds several products, each group of rows with its own B; `Grouping` in nvgemm/choice/problem.py.
#pragma once
#include "config.cuh"
#include "types.cuh"

constexpr uint32_t DENSE = 0;       // one product
constexpr uint32_t BATCHED = 1;     // A [G, M, K], D [G, M, N]
constexpr uint32_t MASKED = 2;      // the same, and each group counts its rows in layout[G]
constexpr uint32_t OFFSETS = 3;     // A [M, K], D [M, N]: group g has rows layout[g] … layout[g + 1] − 1
constexpr uint32_t PSUM = 4;        // the same: from the ALIGNMENT multiple after the end of the group before to layout[g] − 1
constexpr uint32_t CONTIGUOUS = 5;  // the same: layout[M], and each block of ALIGNMENT rows belongs to the group of its first

constexpr bool OWN_ROWS = GROUPING == BATCHED || GROUPING == MASKED;  // each group counts the rows of A and D from 0
constexpr bool HAS_SEGMENTS = GROUPING == MASKED || GROUPING == OFFSETS || GROUPING == PSUM;  // known on the device only

// Of CONTIGUOUS a tile has rows of one block, even if the tensor cores' 64 are more than those.
constexpr uint32_t STEP_M = GROUPING == CONTIGUOUS ? min_of(BLOCK_M, ALIGNMENT) : BLOCK_M;
constexpr uint32_t TILES_N = ceil_div(SHAPE_N, BLOCK_N * CLUSTER_N);
static_assert(CLUSTER_M == 1 || CLUSTER_N == 1, "a cluster shares A or B, not both");
static_assert(GROUPING != CONTIGUOUS || ALIGNMENT % STEP_M == 0, "a tile has rows of one block");
static_assert(GROUPING != CONTIGUOUS || BLOCK_M == 64 || BLOCK_M == STEP_M, "each consumer has rows of its own");

// The copy engine reads from 16-byte units on, and offsets may lie between those of the scales: the first tile of such a
// segment begins with rows of the group before.
__device__ constexpr uint32_t lead(uint32_t first_row) { return GROUPING == OFFSETS ? first_row % 4 : 0; }

__device__ constexpr uint32_t count_tiles_m(uint32_t rows) { return ceil_div(rows, STEP_M * CLUSTER_M); }

// Where the operands of a group lie, counted from those of the group before.
struct Groups {
    const int32_t* layout;
    uint32_t* draws;         // 0 before the launch and after it: tiles that clusters have drawn from those of HAS_SEGMENTS
    uint64_t sfb;            // elements
    uint32_t a, sfa, b, d;   // rows; of sfa elements, since its rows are contiguous
};

// The rows of one group that has any.
struct alignas(16) Segment {
    uint32_t first_tile;  // tiles of the segments before, or pairs of tiles where CTAs work in pairs
    uint32_t group;
    uint32_t row;   // the first
    uint32_t rows;  // 0: there are no more segments
};
constexpr uint32_t NUM_SEGMENTS = HAS_SEGMENTS ? NUM_GROUPS + 1 : 1;

constexpr uint32_t NUM_TICKETS = HAS_SEGMENTS ? 16 : 1;
