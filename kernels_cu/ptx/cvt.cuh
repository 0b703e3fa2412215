// PTX ISA, "Data Movement and Conversion Instructions: cvt".
#pragma once
#include "types.cuh"

namespace ptx {

// Two E4M3 codes, `low` in the low byte. Ties to even; beyond ±448 saturates, infinity included; NaN becomes 0x7F.
__device__ __forceinline__ uint32_t cvt_rn_satfinite_e4m3x2_f32(float low, float high) {
    uint16_t codes;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
    return codes;
}

// Two FP32 to packed BF16, round to nearest even; `low` goes to the lower address.
__device__ __forceinline__ uint32_t cvt_rn_bf16x2_f32(float low, float high) {
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ float cvt_f32_f16(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

}  // namespace ptx
