// x [M, K] → E4M3 data [M, K] and one FP32 scale for each row and 128 of K, MN-major: scales[k_block · scale_stride + row].
//
// A warp takes 8 rows of one block of K, 4 lanes a row, 32 elements a lane: each load reads 64 contiguous bytes or more of a
// row and the 8 scales of the warp fill a 32-byte sector. Memory bound: x is read once, data and scales are written once.
// The padding between two blocks of K, rows M … scale_stride − 1, is set to zero; nothing past the last scale is written.
#include "config.cuh"
#include "types.cuh"

#include "cast.cuh"

constexpr uint32_t NUM_THREADS = 128;  // four independent warps: small, so that few rows still spread over the SMs
constexpr uint32_t WARP_ROWS = 8, ROW_LANES = 4, LANE_UNITS = 128 / (ROW_LANES * UNIT);

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    per_token_cast(const uint8_t* x, uint8_t* data, float* scales, uint64_t x_stride_bytes, uint64_t scale_stride,
                   uint32_t m, uint32_t k) {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t warp = blockIdx.x * (NUM_THREADS / 32) + threadIdx.x / 32;
    const uint32_t k_blocks = ceil_div(k, 128);
    const uint32_t k_block = warp % k_blocks;  // neighbouring warps read on along the same rows
    const uint32_t row = warp / k_blocks * WARP_ROWS + lane / ROW_LANES;
    const uint32_t column = k_block * 128 + lane % ROW_LANES * UNIT;

    float values[LANE_UNITS][UNIT] = {};
    float amax = 0.0f;
#pragma unroll
    for (uint32_t i = 0; i < LANE_UNITS; ++i) {
        const uint32_t unit_column = column + i * ROW_LANES * UNIT;
        if (row < m && unit_column < k)
            load_unit(x + row * x_stride_bytes + static_cast<uint64_t>(unit_column) * ELEMENT_BYTES, values[i]);
    }
#pragma unroll
    for (uint32_t i = 0; i < LANE_UNITS; ++i) amax = amax_of(values[i], amax);
    const Scale scale = scale_of(warp_amax<ROW_LANES>(amax));

#pragma unroll
    for (uint32_t i = 0; i < LANE_UNITS; ++i) {
        const uint32_t unit_column = column + i * ROW_LANES * UNIT;
        if (row < m && unit_column < k)
            store_unit(data + static_cast<uint64_t>(row) * k + unit_column, values[i], scale.inverse);
    }
    const bool is_padding = row >= m && row < scale_stride && k_block + 1 < k_blocks;
    if (lane % ROW_LANES == 0 && (row < m || is_padding))
        scales[k_block * scale_stride + row] = is_padding ? 0.0f : scale.scale;
}
