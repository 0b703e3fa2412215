// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". The multiplication and the wait for it, whose operand
// lists grow with BLOCK_N, are generated (wgmma_mma.cuh); this is what surrounds them.
#pragma once
#include "ptx/address.cuh"

namespace ptx {

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Start address of a tile as a matrix descriptor holds it, in units of 16 bytes.
__device__ __forceinline__ uint32_t wgmma_address(const void* tile) { return (shared_address(tile) & 0x3ffff) >> 4; }

// Matrix descriptor of a K-major tile whose rows are 128 bytes, in the 128-byte swizzle: 1024 bytes, in units of 16, from
// one group of 8 rows to the next, layout type 1 at bit 62.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
    constexpr uint64_t LAYOUT = (1ull << 62) | (static_cast<uint64_t>(1024 >> 4) << 32);
    return LAYOUT | address;
}

}  // namespace ptx
