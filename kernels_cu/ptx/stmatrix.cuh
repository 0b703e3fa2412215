// PTX ISA, "Warp Level Matrix Store Instruction: stmatrix".
#pragma once
#include "ptx/address.cuh"

namespace ptx {

// Two 8×8 matrices of 16-bit elements; lanes 0-15 give the addresses of their rows.
__device__ __forceinline__ void stmatrix_x2(uint32_t address, uint32_t a, uint32_t b) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(a), "r"(b) : "memory");
}

}  // namespace ptx
