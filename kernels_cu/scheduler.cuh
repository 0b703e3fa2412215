// The only place that maps a block to a group, rows and columns of D; producer and epilogue both ask it.
#pragma once
#include "overlap.cuh"
#include "pipeline.cuh"

struct Tile {
    uint32_t group;       // whose B it multiplies by
    uint32_t row;         // first row of A and D: of all groups' together, or of the group's (OWN_ROWS)
    uint32_t column;      // first row of the group's B, first column of D
    uint32_t lead;        // rows at its beginning that do not count, because they are another group's
    uint32_t valid_rows;  // rows of the tile that exist, with these; 0 for the idle half of a cluster
};

static_assert(!BEGINS_INSIDE || GROUPING == DENSE, "where groups meet there is no edge");
static_assert(!BEGINS_INSIDE || K_SPLIT <= 2, "the place of a tile in the ring would tell the order of its sums");
static_assert(!BEGINS_INSIDE || CLUSTER_K <= 2, "the place of a row in its tile would tell the order of its sums");

// Persistent: cluster i computes tiles i, i + clusters, … of all groups' tiles in a row. Within a group a raster walks
// RASTER_M tiles down, then one to the right, so that a wave covers a compact piece of D and finds its rows of A and B in
// the L2.
//
// Where segments are ragged (HAS_SEGMENTS) some tiles take less time than others: then only a cluster's first tile is
// given, and it draws each further one when it is nearly done. Neighbours in the row, which read the same rows of B, are so
// begun at about the same time, whatever the tiles before them took.
struct Scheduler {
    SharedStorage& shared;
    const int32_t* layout;
    uint32_t rows;
    uint32_t rank_m, rank_n, rank_k;  // of this CTA in its cluster
    uint32_t round = 0;               // tiles that this CTA has had
    uint32_t segment = 0;

    // Of CONTIGUOUS: a tile ahead, because to read these takes as long as several k-blocks.
    static constexpr uint32_t INDICES = ceil_div(STEP_M, 32);
    uint32_t next_group = 0;
    uint32_t peer_group = 0, next_peer_group = 0;  // of the other block of rows in a cluster along M
    uint32_t indices[INDICES], next_indices[INDICES] = {};  // of the tile's rows lane, lane + 32, …

    __device__ __forceinline__ Scheduler(SharedStorage& shared, const int32_t* layout, uint32_t m)
        : shared(shared), layout(layout), rows(m) {
        const uint32_t rank = CLUSTER_SIZE == 1 ? 0 : ptx::cluster_ctarank();
        rank_m = CLUSTER_M == 1 ? 0 : rank;
        rank_n = CLUSTER_N == 1 ? 0 : rank;
        rank_k = CLUSTER_K == 1 ? 0 : rank;
        if constexpr (GROUPING == CONTIGUOUS) read_ahead();
    }

    // Tile of this CTA, or pair of tiles of its cluster, in the row of all.
    __device__ __forceinline__ uint32_t index() const {
        return blockIdx.x / CLUSTER_SIZE + round * (gridDim.x / CLUSTER_SIZE);
    }

    __device__ __forceinline__ bool next(Tile& tile) {
        if constexpr (GROUPING == CONTIGUOUS) return next_of_blocks(tile);
        if constexpr (HAS_SEGMENTS) return next_of_segments(tile);
        const uint32_t tiles = count_tiles_m(rows) * TILES_N, i = index();
        if (i >= NUM_GROUPS * tiles) return false;
        const uint32_t group = GROUPING == BATCHED ? i / tiles : 0;
        place(tile, {0, group, 0, rows}, i - group * tiles);
        if constexpr (BEGINS_INSIDE) begin_inside(tile);
        ++round;
        return true;
    }

    // A tile that would reach beyond the last row begins so much earlier, and some of D is computed twice, to the same bits:
    // copies of what lies below A hold all SMs up (docs/performance.md). TMA wants its first scale at 16 bytes.
    __device__ __forceinline__ void begin_inside(Tile& tile) const {
        const uint32_t last_row = rows > BLOCK_M ? ceil_div(rows - BLOCK_M, 4) * 4 : 0;
        if (tile.row <= last_row) return;
        tile.row = last_row;
        tile.valid_rows = tile.valid_rows > 0 ? rows - last_row : 0;
    }

    __device__ __forceinline__ bool next_of_segments(Tile& tile) {
        const uint32_t i = round == 0 ? index() : ticket();
        Segment found = shared.segments[segment];
        while (i - found.first_tile >= count_tiles_m(lead(found.row) + found.rows) * TILES_N) {
            if (found.rows == 0) return false;
            found = shared.segments[++segment];
        }
        place(tile, found, i - found.first_tile);
        ++round;
        return true;
    }

    __device__ __forceinline__ uint32_t ticket() const {
        const uint32_t slot = (round - 1) % NUM_TICKETS;
        ptx::mbarrier_try_wait(&shared.ticket_full[slot], (round - 1) / NUM_TICKETS % 2);
        return shared.tickets[slot];
    }

    // By the producer's thread in the first CTA of a cluster, while its last k-blocks are under way. All clusters together draw
    // as often as there are tiles, each one once too often: so the counter ends at 0.
    __device__ __forceinline__ uint32_t draw(uint32_t* draws) const {
        return HAS_SEGMENTS && is_first_of_cluster() ? atomicInc(draws, shared.num_tiles - 1) : 0;
    }

    // By the producer's thread in each CTA, to all who ask for the next tile. A slot is free: whoever is to read what was in
    // it has given back stages since, without which the producer would not be here.
    __device__ __forceinline__ void announce(uint32_t drawn) const {
        static_assert(!HAS_SEGMENTS || NUM_STAGES + K_SPLIT <= NUM_TICKETS, "nobody lags behind by more tiles");
        const uint32_t slot = (round - 1) % NUM_TICKETS, ticket = gridDim.x / CLUSTER_SIZE + drawn;
        if constexpr (CLUSTER_SIZE == 1) {
            shared.tickets[slot] = ticket;
            ptx::mbarrier_arrive(&shared.ticket_full[slot]);
            return;
        }
        ptx::mbarrier_arrive_expect_tx(&shared.ticket_full[slot], sizeof(uint32_t));
        if (!is_first_of_cluster()) return;
        for (uint32_t rank = 0; rank < CLUSTER_SIZE; ++rank)
            ptx::st_async(&shared.tickets[slot], ticket, &shared.ticket_full[slot], rank);
    }

    __device__ __forceinline__ bool is_first_of_cluster() const { return rank_m == 0 && rank_n == 0; }

    __device__ __forceinline__ bool next_of_blocks(Tile& tile) {
        while (index() < count_tiles_m(rows) * TILES_N) {
            place(tile, {0, next_group, 0, rows}, index());
            if constexpr (CLUSTER_M == 2) pair_up(tile);
#pragma unroll
            for (uint32_t i = 0; i < INDICES; ++i) indices[i] = next_indices[i];
            ++round;
            read_ahead();
            if (tile.group < NUM_GROUPS) return true;
        }
        return false;
    }

    // A block without a group goes along with its peer's, which has one or both are passed over.
    __device__ __forceinline__ void pair_up(Tile& tile) {
        peer_group = next_peer_group < NUM_GROUPS ? next_peer_group : tile.group;
        if (tile.group < NUM_GROUPS) return;
        tile.group = peer_group;
        tile.valid_rows = 0;
    }

    __device__ __forceinline__ uint32_t group_of(uint32_t row) const {
        return row < rows ? load_settled(layout + row / ALIGNMENT * ALIGNMENT) : NUM_GROUPS;
    }

    __device__ __forceinline__ void read_ahead() {
        if (index() >= count_tiles_m(rows) * TILES_N) return;
        Tile tile;
        place(tile, {0, 0, 0, rows}, index());
        next_group = group_of(tile.row);
        if constexpr (CLUSTER_M == 2) next_peer_group = group_of(rank_m == 0 ? tile.row + STEP_M : tile.row - STEP_M);
#pragma unroll
        for (uint32_t i = 0; i < INDICES; ++i) {
            const uint32_t row = i * 32 + threadIdx.x % 32;
            next_indices[i] = row < tile.valid_rows ? load_settled(layout + tile.row + row) : NUM_GROUPS;
        }
    }

    // Tile `index` of a segment.
    __device__ __forceinline__ void place(Tile& tile, const Segment& of, uint32_t index) const {
        const uint32_t rows = lead(of.row) + of.rows, tiles_m = count_tiles_m(rows);
        const uint32_t band = index / (RASTER_M * TILES_N);
        const uint32_t in_band = index % (RASTER_M * TILES_N);
        const uint32_t height = min_of(RASTER_M, tiles_m - band * RASTER_M);  // the last band is lower
        const uint32_t row = ((band * RASTER_M + in_band % height) * CLUSTER_M + rank_m) * STEP_M;
        tile.group = of.group;
        tile.row = of.row - lead(of.row) + row;
        tile.lead = row == 0 ? lead(of.row) : 0;
        tile.column = (in_band / height * CLUSTER_N + rank_n) * BLOCK_N;
        tile.valid_rows = row < rows && tile.column < SHAPE_N ? min_of(rows - row, STEP_M) : 0;
    }

    // Which of 64 rows of a tile, from `first` on, belong to its group: bit i is row i. For all threads of a warp.
    __device__ __forceinline__ uint64_t valid_rows(const Tile& tile, uint32_t first) const {
        if constexpr (GROUPING == CONTIGUOUS) return valid_rows_of_block(tile, first);
        const uint32_t count = tile.valid_rows > first ? tile.valid_rows - first : 0;
        const uint64_t rows = count >= 64 ? ~0ull : (1ull << count) - 1;
        return first == 0 ? rows >> tile.lead << tile.lead : rows;
    }

    __device__ __forceinline__ uint64_t valid_rows_of_block(const Tile& tile, uint32_t first) const {
        uint32_t valid[INDICES];
#pragma unroll
        for (uint32_t i = 0; i < INDICES; ++i)
            valid[i] = __ballot_sync(0xffffffff, tile.valid_rows > 0 && indices[i] == tile.group);
        if constexpr (INDICES == 1) return valid[0];
        const uint64_t upper = static_cast<uint64_t>(valid[1]) << 32 | valid[0];
        return first == 0 ? upper : static_cast<uint64_t>(valid[INDICES - 1]) << 32 | valid[INDICES - 2];
    }
};
