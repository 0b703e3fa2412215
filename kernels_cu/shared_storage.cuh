// What one CTA keeps in shared memory, as one struct: sizeof is the truth, and the host's formula is checked against it.
#pragma once
#include "grouping.cuh"

constexpr uint32_t BLOCK_K = 128;  // one scale of A and one of B cover 128 of K; 128 bytes are one swizzle row
constexpr uint32_t SWIZZLE_ATOM = 1024;

constexpr uint32_t STRIP_N = WGMMA_N < 64 ? WGMMA_N : 64;     // columns of D that a warp stages at a time
constexpr uint32_t NUM_STRIPS = ceil_div(WGMMA_N, STRIP_N);   // of one multiplication
constexpr uint32_t STRIP_BYTES = 16 * 128;                    // 16 rows of a warp, each one swizzle row
constexpr uint32_t NUM_CONSUMER_WARPS = NUM_CONSUMERS * 4;
constexpr uint32_t NUM_THREADS = 128 * (NUM_CONSUMERS + 1);

// Tiles begin at multiples of gcd(BLOCK_N, 128) within a 128-block of N, so each so many columns have one scale of B.
constexpr uint32_t SFB_COLUMNS = gcd(BLOCK_N, 128);
constexpr uint32_t NUM_SFB = BLOCK_N / SFB_COLUMNS;
constexpr uint32_t WGMMA_SFB = NUM_SFB * WGMMA_N / BLOCK_N;  // of the columns of one multiplication

// Where K is divided: warps of a CTA that hold sums in the end, and those whose rows this CTA sums up for its cluster.
constexpr uint32_t SUM_WARPS = NUM_CONSUMER_WARPS / K_SPLIT;
constexpr uint32_t OWN_WARPS = ceil_div(SUM_WARPS, CLUSTER_K);
constexpr uint32_t CONSUMER_SUMS = (K_SPLIT - 1) * 64 * BLOCK_N, CLUSTER_SUMS = (CLUSTER_K - 1) * OWN_WARPS * 16 * BLOCK_N;
constexpr uint32_t NUM_SUMS = max_of(CONSUMER_SUMS + CLUSTER_SUMS, 32);  // an array cannot be empty
constexpr uint32_t NUM_SUM_BARRIERS = CLUSTER_K == 1 ? 1 : SUM_WARPS;

struct SharedStorage {
    alignas(SWIZZLE_ATOM) uint8_t a[NUM_STAGES][BLOCK_M * BLOCK_K];
    alignas(SWIZZLE_ATOM) uint8_t b[NUM_STAGES][BLOCK_N * BLOCK_K];
    alignas(SWIZZLE_ATOM) uint8_t d[NUM_CONSUMER_WARPS][NUM_D_STRIPS][STRIP_BYTES];
    alignas(128) float sums[NUM_SUMS];  // of the same rows over other k-blocks: of other consumers, then of other CTAs
    alignas(128) float sfa[NUM_STAGES][BLOCK_M];
    alignas(16) Segment segments[NUM_SEGMENTS];
    uint32_t num_tiles;             // of all segments; in clusters, pairs of tiles
    uint32_t tickets[NUM_TICKETS];  // tiles that this CTA computes after its first, in turn
    alignas(8) uint64_t ticket_full[NUM_TICKETS];
    alignas(8) uint64_t sums_full[NUM_SUM_BARRIERS];
    alignas(8) uint64_t sums_empty[NUM_SUM_BARRIERS];
    alignas(16) float sfb[NUM_STAGES][ceil_div(NUM_SFB, 4) * 4];  // whole 16 bytes, which one load reads
    alignas(8) uint64_t full[NUM_STAGES];
    alignas(8) uint64_t empty[NUM_STAGES];
};
static_assert(sizeof(SharedStorage) == SHARED_BYTES, "GemmConfig.shared_bytes and SharedStorage disagree");
static_assert(NUM_SFB <= 32, "a warp writes the scales of B, one a lane");
