// What the two quantising kernels share: units of 8 elements in, 8 E4M3 codes out, and the scale of a block.
//
// config.cuh gives INPUT_DTYPE, LOAD_BYTES (the widest load that the input's address and row stride allow) and POWER_OF_TWO.
#pragma once
#include "ptx/cvt.cuh"

constexpr uint32_t FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2;  // INPUT_DTYPE
constexpr uint32_t ELEMENT_BYTES = INPUT_DTYPE == FLOAT32 ? 4 : 2;
constexpr uint32_t UNIT = 8;  // elements: 16 bytes of a 2-byte type; K is a multiple of 16, so no unit is cut
constexpr uint32_t UNIT_WORDS = UNIT * ELEMENT_BYTES / 4;

__device__ __forceinline__ void load_words(const uint8_t* source, uint32_t (&words)[UNIT_WORDS]) {
    if constexpr (LOAD_BYTES == 16) {
#pragma unroll
        for (uint32_t i = 0; i < UNIT_WORDS; i += 4) {
            const uint4 four = __ldg(reinterpret_cast<const uint4*>(source + 4 * i));
            words[i] = four.x, words[i + 1] = four.y, words[i + 2] = four.z, words[i + 3] = four.w;
        }
    } else if constexpr (LOAD_BYTES == 8) {
#pragma unroll
        for (uint32_t i = 0; i < UNIT_WORDS; i += 2) {
            const uint2 two = __ldg(reinterpret_cast<const uint2*>(source + 4 * i));
            words[i] = two.x, words[i + 1] = two.y;
        }
    } else if constexpr (LOAD_BYTES == 4) {
#pragma unroll
        for (uint32_t i = 0; i < UNIT_WORDS; ++i) words[i] = __ldg(reinterpret_cast<const uint32_t*>(source) + i);
    } else {
        const uint16_t* halves = reinterpret_cast<const uint16_t*>(source);
#pragma unroll
        for (uint32_t i = 0; i < UNIT_WORDS; ++i)
            words[i] = __ldg(halves + 2 * i) | static_cast<uint32_t>(__ldg(halves + 2 * i + 1)) << 16;
    }
}

// Every input dtype is exact in FP32.
__device__ __forceinline__ void load_unit(const uint8_t* source, float (&values)[UNIT]) {
    uint32_t words[UNIT_WORDS];
    load_words(source, words);
#pragma unroll
    for (uint32_t i = 0; i < UNIT; ++i) {
        if constexpr (INPUT_DTYPE == FLOAT32)
            values[i] = __uint_as_float(words[i]);
        else if constexpr (INPUT_DTYPE == FLOAT16)
            values[i] = ptx::cvt_f32_f16(static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16)));
        else
            values[i] = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
    }
}

// fmaxf returns the operand that is a number: a NaN element leaves the scale of its block alone and stays NaN itself.
__device__ __forceinline__ float amax_of(const float (&values)[UNIT], float amax) {
#pragma unroll
    for (uint32_t i = 0; i < UNIT; ++i) amax = fmaxf(amax, fabsf(values[i]));
    return amax;
}

// All LANES neighbours get the maximum.
template <uint32_t LANES>
__device__ __forceinline__ float warp_amax(float amax) {
#pragma unroll
    for (uint32_t offset = LANES / 2; offset > 0; offset /= 2)
        amax = fmaxf(amax, __shfl_xor_sync(0xffffffff, amax, offset));
    return amax;
}

struct Scale {
    float scale, inverse;
};

// Rounded as written, so that the NumPy oracle agrees bit for bit; 448 is E4M3's largest number.
__device__ __forceinline__ Scale scale_of(float amax) {
    amax = fmaxf(amax, 1e-4f);
    const float scale = __fdiv_rn(amax, 448.0f);
    if constexpr (POWER_OF_TWO) {  // adding all but one of the mantissa's steps carries into the exponent unless they are zero
        const float power = __uint_as_float((__float_as_uint(scale) + 0x7fffffu) & 0x7f800000u);
        return {power, __fdiv_rn(1.0f, power)};
    }
    return {scale, __fdiv_rn(448.0f, amax)};
}

__device__ __forceinline__ void store_unit(uint8_t* target, const float (&values)[UNIT], float inverse) {
    uint32_t codes[UNIT / 2];
#pragma unroll
    for (uint32_t i = 0; i < UNIT / 2; ++i)
        codes[i] = ptx::cvt_rn_satfinite_e4m3x2_f32(__fmul_rn(values[2 * i], inverse),
                                                    __fmul_rn(values[2 * i + 1], inverse));
    *reinterpret_cast<uint2*>(target) = make_uint2(codes[0] | codes[1] << 16, codes[2] | codes[3] << 16);
}
