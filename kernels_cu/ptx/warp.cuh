// Warps: election, register reallocation, named barriers, and the fence between ordinary stores and the copy engine.
#pragma once
#include "types.cuh"

namespace ptx {

// True in exactly one lane of a converged warp.
__device__ __forceinline__ bool elect_sync() {
    uint32_t elected;
    asm volatile(
        "{\n"
        ".reg .pred leader;\n"
        "elect.sync _|leader, 0xffffffff;\n"
        "selp.b32 %0, 1, 0, leader;\n"
        "}"
        : "=r"(elected));
    return elected != 0;
}

template <int COUNT>
__device__ __forceinline__ void setmaxnreg_inc() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
}

template <int COUNT>
__device__ __forceinline__ void setmaxnreg_dec() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
}

// Barrier `id` (0-15; 0 is that of __syncthreads) among `threads` threads of the CTA: those that arrive do not wait for it,
// those that sync do.
__device__ __forceinline__ void bar_arrive(uint32_t id, uint32_t threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void bar_sync(uint32_t id, uint32_t threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Orders this thread's writes to shared memory before what the copy engine reads there.
__device__ __forceinline__ void fence_proxy_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace ptx
