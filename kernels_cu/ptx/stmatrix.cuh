// PTX ISA, "Warp Level Matrix Store Instruction: stmatrix", and the conversion of what it stores: in one statement, because
// the compiler takes its time over each.
#pragma once
#include "ptx/address.cuh"

namespace ptx {

// Two 8×8 matrices of FP32 as BF16, rounded to nearest even: elements 0 and 1 of each lane, and 2 and 3. Lanes 0-15 give
// the addresses of their rows.
__device__ __forceinline__ void stmatrix_x2_bf16(uint32_t address, const float* x) {
    asm volatile(
        "{\n"
        ".reg .b32 a, b;\n"
        "cvt.rn.bf16x2.f32 a, %2, %1;\n"
        "cvt.rn.bf16x2.f32 b, %4, %3;\n"
        "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {a, b};\n"
        "}" ::"r"(address),
        "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3])
        : "memory");
}

// Four of them; all lanes give addresses.
__device__ __forceinline__ void stmatrix_x4_bf16(uint32_t address, const float* x) {
    asm volatile(
        "{\n"
        ".reg .b32 a, b, c, d;\n"
        "cvt.rn.bf16x2.f32 a, %2, %1;\n"
        "cvt.rn.bf16x2.f32 b, %4, %3;\n"
        "cvt.rn.bf16x2.f32 c, %6, %5;\n"
        "cvt.rn.bf16x2.f32 d, %8, %7;\n"
        "stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {a, b, c, d};\n"
        "}" ::"r"(address),
        "f"(x[0]), "f"(x[1]), "f"(x[2]), "f"(x[3]), "f"(x[4]), "f"(x[5]), "f"(x[6]), "f"(x[7])
        : "memory");
}

}  // namespace ptx
