// PTX ISA, "Data Movement and Conversion Instructions: ld", cache operators.
#pragma once

namespace ptx {

// From the L2; not before what stands before it.
__device__ __forceinline__ float ld_global_cg(const float* from) {
    float value;
    asm volatile("ld.global.cg.f32 %0, [%1];" : "=f"(value) : "l"(from) : "memory");
    return value;
}

__device__ __forceinline__ int ld_global_cg(const int* from) {
    int value;
    asm volatile("ld.global.cg.s32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
    return value;
}

}  // namespace ptx
