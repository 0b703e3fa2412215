// The ring of stages between the producer and the consumers.
#pragma once
#include "ptx/cluster.cuh"
#include "ptx/mbarrier.cuh"
#include "ptx/warp.cuh"
#include "shared_storage.cuh"

constexpr uint32_t SHARERS = CLUSTER_M * CLUSTER_N;  // CTAs that multicast to each other
constexpr uint32_t CLUSTER_SIZE = SHARERS * CLUSTER_K;
static_assert(SHARERS == 1 || CLUSTER_K == 1, "a cluster shares operands or divides K");

// A stage is full when the operands' bytes have come (one arrival announces them) and the scales of B are written (each by
// a thread that arrives). It is empty when every consumer thread that reads it has arrived: with multicast those of the
// peer too, because this producer writes into the peer's shared memory as well.
constexpr uint32_t FULL_ARRIVALS = 1 + NUM_SFB;
constexpr uint32_t EMPTY_ARRIVALS = NUM_CONSUMER_WARPS / K_SPLIT * 32 * SHARERS;

// A position in the ring: the stage, and the parity of its current use.
struct Pipeline {
    uint32_t stage = 0;
    uint32_t phase = 0;

    __device__ __forceinline__ void advance() {
        stage = stage + 1 == NUM_STAGES ? 0 : stage + 1;
        phase ^= stage == 0;
    }
    __device__ __forceinline__ void wait_full(SharedStorage& shared) const {
        ptx::mbarrier_try_wait(&shared.full[stage], phase);
    }
    // The position `steps` on, up to one round.
    __device__ __forceinline__ Pipeline ahead(uint32_t steps) const {
        const bool wraps = stage + steps >= NUM_STAGES;
        return {wraps ? stage + steps - NUM_STAGES : stage + steps, phase ^ wraps};
    }
    __device__ __forceinline__ bool is_full(SharedStorage& shared) const {
        return ptx::mbarrier_test_wait(&shared.full[stage], phase);
    }
    // A fresh barrier counts its preceding phase as complete, so the first round of the ring does not block.
    __device__ __forceinline__ void wait_empty(SharedStorage& shared) const {
        ptx::mbarrier_try_wait(&shared.empty[stage], phase ^ 1);
    }
    // By each thread of a consumer once it has read, in every CTA whose producer fills this stage. One arrival a warp is
    // no faster, and compute-sanitizer would not see that it stands for 32 threads' reads.
    __device__ __forceinline__ void release(SharedStorage& shared) const {
        if constexpr (SHARERS == 1) {
            ptx::mbarrier_arrive(&shared.empty[stage]);
        } else {
#pragma unroll
            for (uint32_t rank = 0; rank < SHARERS; ++rank) ptx::mbarrier_arrive_remote(&shared.empty[stage], rank);
        }
    }
};

// By one thread, before the CTAs of the cluster meet for the first time.
__device__ __forceinline__ void init_barriers(SharedStorage& shared) {
    for (uint32_t stage = 0; stage < NUM_STAGES; ++stage) {
        ptx::mbarrier_init(&shared.full[stage], FULL_ARRIVALS);
        ptx::mbarrier_init(&shared.empty[stage], EMPTY_ARRIVALS);
    }
    if constexpr (HAS_SEGMENTS)
        for (uint32_t i = 0; i < NUM_TICKETS; ++i) ptx::mbarrier_init(&shared.ticket_full[i], 1);
    if constexpr (CLUSTER_K > 1)
        for (uint32_t warp = 0; warp < SUM_WARPS; ++warp) {
            ptx::mbarrier_init(&shared.sums_full[warp], 1);
            ptx::mbarrier_init(&shared.sums_empty[warp], 1);
        }
    ptx::fence_mbarrier_init();
    ptx::fence_proxy_async();
}

// The threads of the cluster, or of the CTA where there is none, meet in two steps before their roles part. In a CTA alone the
// loader's warp does not wait: it made what the others wait for.
__device__ __forceinline__ void arrive_at_start(bool is_loader) {
    if constexpr (CLUSTER_SIZE == 1) {
        if (is_loader) ptx::bar_arrive(0, NUM_THREADS);
    } else if constexpr (HAS_SEGMENTS) {
        ptx::barrier_cluster_arrive_release();
    } else {
        ptx::barrier_cluster_arrive_relaxed();  // barriers are released by their own fence
    }
}
__device__ __forceinline__ void wait_at_start(bool is_loader) {
    if constexpr (CLUSTER_SIZE > 1)
        ptx::barrier_cluster_wait();
    else if (!is_loader)
        ptx::bar_sync(0, NUM_THREADS);
}
