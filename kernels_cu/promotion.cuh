// Two-level accumulation: the tensor core sums 128 of K, the CUDA cores add that partial sum, scaled, in FP32.
#pragma once
#include "shared_storage.cuh"

// Accumulator layout of m64nNk32 (PTX ISA, figure "WGMMA .m64nNk32 register fragment layout for accumulator matrix D"):
// registers 4g, 4g+1 are columns 8g + 2·(lane % 4) + {0, 1} of row lane / 4; 4g+2, 4g+3 the same of row lane / 4 + 8.
constexpr uint32_t ACCUMULATORS = WGMMA_N / 2;

// Each group of 8 columns has a scale of B in a register of its own or shares it with its neighbours: which, is known when
// the kernel is compiled, though where the tile lies across the 128-blocks of N is not.
__device__ __forceinline__ void promote(float (&final)[ACCUMULATORS], const float (&partial)[ACCUMULATORS],
                                        float sfa_top, float sfa_bottom, const float* sfb) {
    float top[WGMMA_SFB], bottom[WGMMA_SFB];
#pragma unroll
    for (uint32_t i = 0; i < WGMMA_SFB; ++i) {
        top[i] = sfa_top * sfb[i];
        bottom[i] = sfa_bottom * sfb[i];
    }
#pragma unroll
    for (uint32_t group = 0; group < WGMMA_N / 8; ++group) {
        const uint32_t i = group * 8 / SFB_COLUMNS;
        final[4 * group + 0] += top[i] * partial[4 * group + 0];
        final[4 * group + 1] += top[i] * partial[4 * group + 1];
        final[4 * group + 2] += bottom[i] * partial[4 * group + 2];
        final[4 * group + 3] += bottom[i] * partial[4 * group + 3];
    }
}
