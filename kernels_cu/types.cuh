// The few types that device code shares. NVRTC has no <cstdint>, and nothing here includes from outside kernels_cu.
#pragma once

using int8_t = signed char;
using uint8_t = unsigned char;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;

using bfloat16_t = uint16_t;  // carried as bits: arithmetic is FP32, conversion is one PTX instruction

// CUtensorMap, opaque. cuda.h asks for 64 bytes of alignment in CUDA 12 and for 128 in CUDA 13.
struct alignas(128) TensorMap {
    uint8_t bytes[128];
};

__device__ constexpr uint32_t ceil_div(uint32_t x, uint32_t y) { return (x + y - 1) / y; }
__device__ constexpr uint32_t min_of(uint32_t x, uint32_t y) { return x < y ? x : y; }
__device__ constexpr uint32_t max_of(uint32_t x, uint32_t y) { return x > y ? x : y; }
__device__ constexpr uint32_t gcd(uint32_t x, uint32_t y) { return y == 0 ? x : gcd(y, x % y); }
