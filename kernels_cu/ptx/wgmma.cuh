// PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions". The multiplication, whose operand
// list grows with BLOCK_N, is generated (wgmma_mma.cuh); this is what surrounds it.
#pragma once
#include "ptx/address.cuh"

namespace ptx {

__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit_group() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits for all multiplications but the newest PENDING. The compiler takes an asynchronous result as ready when the
// instruction is issued, and would use it before the wait: but not before the scales, of which each use has one.
template <int PENDING>
__device__ __forceinline__ void wgmma_wait_group(float& sfa_top, float& sfa_bottom) {
    asm volatile("wgmma.wait_group.sync.aligned %2;" : "+f"(sfa_top), "+f"(sfa_bottom) : "n"(PENDING) : "memory");
}

// Start address of a tile as a matrix descriptor holds it, in units of 16 bytes.
__device__ __forceinline__ uint32_t wgmma_address(const void* tile) { return (shared_address(tile) & 0x3ffff) >> 4; }

// Matrix descriptor of a K-major tile whose rows are 128 bytes, in the 128-byte swizzle: 1024 bytes, in units of 16, from
// one group of 8 rows to the next, layout type 1 at bit 62.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t address) {
    constexpr uint64_t LAYOUT = (1ull << 62) | (static_cast<uint64_t>(1024 >> 4) << 32);
    return LAYOUT | address;
}

}  // namespace ptx
