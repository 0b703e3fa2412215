// out[token] = Σ weights[token, choice] · d[row of that slot] over a token's slots in order, FP32, rounded to BF16 once.
//
// A warp makes 256 columns of a token, 8 a lane; it gathers, so nothing is added in an order left to chance. Memory bound: the
// loads of BATCH slots are under way together. Slots without a row are skipped; a token that has no other gets zeros.
#include "config.cuh"
#include "types.cuh"

#include "ptx/cvt.cuh"

constexpr uint32_t NUM_THREADS = 128;
constexpr uint32_t UNIT = 8, WARP_COLUMNS = 32 * UNIT;  // a unit is 16 bytes of BF16
constexpr uint32_t BATCH = 8;                           // divides 32, the most slots of a token

// Product and sum are rounded one by one, so that the NumPy oracle agrees bit for bit.
__device__ __forceinline__ void accumulate(float (&sums)[UNIT], const uint4& unit, float weight) {
    const uint32_t words[UNIT / 2] = {unit.x, unit.y, unit.z, unit.w};
#pragma unroll
    for (uint32_t i = 0; i < UNIT / 2; ++i) {
        sums[2 * i] = __fadd_rn(sums[2 * i], __fmul_rn(weight, __uint_as_float(words[i] << 16)));
        sums[2 * i + 1] = __fadd_rn(sums[2 * i + 1], __fmul_rn(weight, __uint_as_float(words[i] & 0xffff0000u)));
    }
}

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    combine(const bfloat16_t* __restrict__ d, const int32_t* __restrict__ row_of_slot, const float* __restrict__ weights,
            bfloat16_t* __restrict__ out, uint64_t d_stride, uint64_t out_stride, uint32_t tokens, uint32_t columns,
            uint32_t top_k) {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t warp = blockIdx.x * (NUM_THREADS / 32) + threadIdx.x / 32;
    const uint32_t pieces = ceil_div(columns, WARP_COLUMNS);
    const uint32_t token = warp / pieces, column = warp % pieces * WARP_COLUMNS + lane * UNIT;
    if (token >= tokens) return;
    const bool has_slot = lane < top_k, has_columns = column < columns;
    const int32_t lane_row = has_slot ? __ldg(row_of_slot + token * top_k + lane) : -1;
    const float lane_weight = has_slot ? __ldg(weights + token * top_k + lane) : 0.0f;

    float sums[UNIT] = {};
    for (uint32_t first = 0; first < top_k; first += BATCH) {
        uint4 units[BATCH];
        int32_t rows[BATCH];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; ++i) {
            rows[i] = __shfl_sync(0xffffffff, lane_row, first + i);
            if (rows[i] >= 0 && has_columns) units[i] = __ldg(reinterpret_cast<const uint4*>(d + rows[i] * d_stride + column));
        }
#pragma unroll
        for (uint32_t i = 0; i < BATCH; ++i) {
            const float weight = __shfl_sync(0xffffffff, lane_weight, first + i);
            if (rows[i] >= 0 && has_columns) accumulate(sums, units[i], weight);
        }
    }
    if (!has_columns) return;
    const uint4 packed = {ptx::cvt_rn_bf16x2_f32(sums[0], sums[1]), ptx::cvt_rn_bf16x2_f32(sums[2], sums[3]),
                          ptx::cvt_rn_bf16x2_f32(sums[4], sums[5]), ptx::cvt_rn_bf16x2_f32(sums[6], sums[7])};
    *reinterpret_cast<uint4*>(out + token * out_stride + column) = packed;
}
