// PTX ISA, "barrier.cluster" and the special registers of a cluster.
#pragma once
#include "ptx/address.cuh"

namespace ptx {

__device__ __forceinline__ uint32_t cluster_ctarank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// Writes `value` to the place of `target` in the shared memory of CTA `rank`; the barrier at the place of `barrier` there
// counts its 4 bytes.
__device__ __forceinline__ void st_async(uint32_t* target, uint32_t value, uint64_t* barrier, uint32_t rank) {
    asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], %1, [%2];" ::"r"(mapa(target, rank)),
                 "r"(value), "r"(mapa(barrier, rank))
                 : "memory");
}

// The same of four floats, 16 bytes.
__device__ __forceinline__ void st_async(float4* target, const float* values, uint64_t* barrier, uint32_t rank) {
    asm volatile(
        "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(mapa(target, rank)),
        "f"(values[0]), "f"(values[1]), "f"(values[2]), "f"(values[3]), "r"(mapa(barrier, rank))
        : "memory");
}

// Releases what this thread has written, by a fence, which takes 0.4 µs at a kernel's start.
__device__ __forceinline__ void barrier_cluster_arrive_release() {
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
}

__device__ __forceinline__ void barrier_cluster_arrive_relaxed() {
    asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory");
}

__device__ __forceinline__ void barrier_cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

}  // namespace ptx
