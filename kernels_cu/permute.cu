// Rows of x [T, row_bytes] to where their slots have been routed, and the scales of those rows, if there are any.
//
// Data: a warp reads 2 KiB of a token's row once and writes it to the row of each of its slots. Scales: a CTA gathers those of
// 128 rows and 8 blocks of K, so that it writes along M, as they lie: output[(group · k_blocks + k_block) · scale_stride + row].
// Rows without a token are neither read nor written. Memory bound, both; the first copy_ctas CTAs do the data.
#include "config.cuh"
#include "types.cuh"

constexpr uint32_t NUM_THREADS = 128;
constexpr uint32_t LANE_UNITS = 4, PIECE_UNITS = 32 * LANE_UNITS;  // of 16 bytes
constexpr uint32_t CTA_K_BLOCKS = 8;

__device__ __forceinline__ void copy_piece(const uint4* source, uint8_t* output, const int32_t* rows_of_token, uint32_t top_k,
                                           uint32_t units, uint32_t first_unit) {
    const uint32_t lane = threadIdx.x % 32;
    const int32_t lane_row = lane < top_k ? __ldg(rows_of_token + lane) : -1;
    uint4 values[LANE_UNITS];
#pragma unroll
    for (uint32_t i = 0; i < LANE_UNITS; ++i) {
        const uint32_t unit = first_unit + i * 32 + lane;
        values[i] = unit < units ? __ldg(source + unit) : uint4{};
    }
    for (uint32_t choice = 0; choice < top_k; ++choice) {
        const int32_t row = __shfl_sync(0xffffffff, lane_row, choice);
        if (row < 0) continue;
        uint4* target = reinterpret_cast<uint4*>(output) + static_cast<uint64_t>(row) * units;
#pragma unroll
        for (uint32_t i = 0; i < LANE_UNITS; ++i) {
            const uint32_t unit = first_unit + i * 32 + lane;
            if (unit < units) target[unit] = values[i];
        }
    }
}

__device__ __forceinline__ void gather_scales(const float* source, float* output, uint64_t k_stride, uint64_t output_stride,
                                              uint32_t first_block, uint32_t k_blocks) {
#pragma unroll
    for (uint32_t i = 0; i < CTA_K_BLOCKS; ++i) {
        const uint32_t k_block = first_block + i;
        if (k_block < k_blocks) output[k_block * output_stride] = __ldg(source + k_block * k_stride);
    }
}

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    permute(const uint8_t* __restrict__ x, uint8_t* __restrict__ output, const int32_t* __restrict__ row_of_slot,
            uint64_t x_stride_bytes, uint32_t row_bytes, uint32_t tokens, uint32_t top_k, uint32_t copy_ctas,
            const float* __restrict__ scales, float* __restrict__ output_scales, const int32_t* __restrict__ token_of_row,
            uint64_t scale_row_stride, uint64_t scale_k_stride, uint64_t output_scale_stride, uint32_t k_blocks,
            uint32_t rows, uint32_t group_rows) {
    if (!HAS_SCALES || blockIdx.x < copy_ctas) {
        const uint32_t units = row_bytes / 16, pieces = ceil_div(units, PIECE_UNITS);
        const uint32_t warp = blockIdx.x * (NUM_THREADS / 32) + threadIdx.x / 32;
        const uint32_t token = warp / pieces;
        if (token < tokens)
            copy_piece(reinterpret_cast<const uint4*>(x + token * x_stride_bytes), output, row_of_slot + token * top_k, top_k,
                       units, warp % pieces * PIECE_UNITS);
        return;
    }
    const uint32_t steps = ceil_div(k_blocks, CTA_K_BLOCKS), cta = blockIdx.x - copy_ctas;
    const uint32_t row = cta / steps * NUM_THREADS + threadIdx.x;
    const int32_t token = row < rows ? __ldg(token_of_row + row) : -1;
    if (token < 0) return;
    float* target = output_scales + row / group_rows * output_scale_stride * k_blocks + row % group_rows;
    gather_scales(scales + token * scale_row_stride, target, scale_k_stride, output_scale_stride, cta % steps * CTA_K_BLOCKS,
                  k_blocks);
}
