// Where K is divided, among consumers or among the CTAs of a cluster, all hold sums of the same rows: one adds the others' to
// its own, in their order, so that the bits are the same each time.
#pragma once
#include "pipeline.cuh"
#include "promotion.cuh"
#include "ptx/cluster.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/warp.cuh"

// Among the consumers of a CTA, all with the same 64 rows, consumer 0 does.
__device__ __forceinline__ void reduce_k_split(SharedStorage& shared, float (&final)[ACCUMULATORS], uint32_t k_rank) {
    float* sums = shared.sums + threadIdx.x % 128;  // a thread of each consumer holds the same elements
    if (k_rank > 0) {
#pragma unroll
        for (uint32_t i = 0; i < ACCUMULATORS; ++i) sums[((k_rank - 1) * ACCUMULATORS + i) * 128] = final[i];
    }
    ptx::bar_sync(1, NUM_CONSUMERS * 128);
    if (k_rank == 0) {
#pragma unroll
        for (uint32_t rank = 1; rank < K_SPLIT; ++rank)
#pragma unroll
            for (uint32_t i = 0; i < ACCUMULATORS; ++i) final[i] += sums[((rank - 1) * ACCUMULATORS + i) * 128];
    }
    ptx::bar_sync(1, NUM_CONSUMERS * 128);  // read before the next tile's sums come
}

// Among the CTAs of a cluster each adds up the rows of some warps, 16 of each: the one that does for those of `warp`.
__device__ __forceinline__ uint32_t owner_of(uint32_t warp) { return warp * CLUSTER_K / SUM_WARPS; }

// A warp sends its sums to the CTA that owns its rows, or is in that one, waits for the other CTAs' and adds them. Returns
// whether it is. `round`: tiles so far.
__device__ __forceinline__ bool reduce_cluster(SharedStorage& shared, float (&final)[ACCUMULATORS], uint32_t rank,
                                               uint32_t warp, uint32_t lane, uint32_t round) {
    constexpr uint32_t CHUNKS = ACCUMULATORS / 4, BYTES = CHUNKS * 32 * sizeof(float4);  // 16 bytes a lane; of one warp
    const uint32_t owner = owner_of(warp), phase = (round - 1) % 2;
    float4* sums = reinterpret_cast<float4*>(shared.sums + CONSUMER_SUMS) + warp % OWN_WARPS * (CLUSTER_K - 1) * CHUNKS * 32;
    if (rank != owner) {
        ptx::mbarrier_try_wait(&shared.sums_empty[warp], phase ^ 1);  // those of the last tile are read
        sums += (rank < owner ? rank : rank - 1) * CHUNKS * 32 + lane;
#pragma unroll
        for (uint32_t i = 0; i < CHUNKS; ++i)
            ptx::st_async(sums + i * 32, final + 4 * i, &shared.sums_full[warp], owner);
        return false;
    }
    if (lane == 0) ptx::mbarrier_arrive_expect_tx(&shared.sums_full[warp], (CLUSTER_K - 1) * BYTES);
    ptx::mbarrier_try_wait(&shared.sums_full[warp], phase);
#pragma unroll
    for (uint32_t peer = 1; peer < CLUSTER_K; ++peer, sums += CHUNKS * 32)
#pragma unroll
        for (uint32_t i = 0; i < CHUNKS; ++i) {
            const float4 sum = sums[i * 32 + lane];
            final[4 * i + 0] += sum.x, final[4 * i + 1] += sum.y, final[4 * i + 2] += sum.z, final[4 * i + 3] += sum.w;
        }
    __syncwarp();  // all have read
    if (lane < CLUSTER_K && lane != rank) ptx::mbarrier_arrive_remote(&shared.sums_empty[warp], lane);
    return true;
}

// The end of a warp that has sent sums in `rounds` tiles: they are read, and the owner's word of it is here. So nothing is on its
// way to this CTA when it ends.
__device__ __forceinline__ void end_cluster(SharedStorage& shared, uint32_t rank, uint32_t warp, uint32_t rounds) {
    if (rounds > 0 && rank != owner_of(warp)) ptx::mbarrier_try_wait(&shared.sums_empty[warp], (rounds - 1) % 2);
}
