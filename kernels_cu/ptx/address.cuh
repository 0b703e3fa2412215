#pragma once
#include "types.cuh"

namespace ptx {

// The 32-bit address in the shared window that every shared-memory instruction below takes.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// The same place in the shared memory of CTA `rank` of the cluster; volatile, so that it is found where it is used and takes
// no register until then.
__device__ __forceinline__ uint32_t mapa(const void* pointer, uint32_t rank) {
    uint32_t remote;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(shared_address(pointer)), "r"(rank));
    return remote;
}

}  // namespace ptx
