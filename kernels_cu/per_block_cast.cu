// x [N, K] → E4M3 data [N, K] and one FP32 scale for each 128×128 block: scales [ceil(N/128), ceil(K/128)], row-major.
//
// A CTA takes a block and keeps it in registers between finding its amax and storing it: x is read once. 16 lanes read a row,
// 512 threads 32 rows at a time.
#include "config.cuh"
#include "types.cuh"

#include "cast.cuh"

constexpr uint32_t NUM_THREADS = 512;
constexpr uint32_t ROW_LANES = 128 / UNIT, STEP_ROWS = NUM_THREADS / ROW_LANES, STEPS = 128 / STEP_ROWS;

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    per_block_cast(const uint8_t* x, uint8_t* data, float* scales, uint64_t x_stride_bytes, uint32_t n, uint32_t k) {
    __shared__ float warp_maxima[NUM_THREADS / 32];
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t k_blocks = ceil_div(k, 128);
    const uint32_t column = blockIdx.x % k_blocks * 128 + threadIdx.x % ROW_LANES * UNIT;
    const uint32_t first_row = blockIdx.x / k_blocks * 128 + threadIdx.x / ROW_LANES;

    float values[STEPS][UNIT] = {};
    float amax = 0.0f;
#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) {
        const uint32_t row = first_row + step * STEP_ROWS;
        if (row < n && column < k)
            load_unit(x + row * x_stride_bytes + static_cast<uint64_t>(column) * ELEMENT_BYTES, values[step]);
    }
#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) amax = amax_of(values[step], amax);

    amax = warp_amax<32>(amax);
    if (lane == 0) warp_maxima[threadIdx.x / 32] = amax;
    __syncthreads();
    const Scale scale = scale_of(warp_amax<NUM_THREADS / 32>(warp_maxima[lane % (NUM_THREADS / 32)]));

#pragma unroll
    for (uint32_t step = 0; step < STEPS; ++step) {
        const uint32_t row = first_row + step * STEP_ROWS;
        if (row < n && column < k) store_unit(data + static_cast<uint64_t>(row) * k + column, values[step], scale.inverse);
    }
    if (threadIdx.x == 0) scales[blockIdx.x] = scale.scale;
}
