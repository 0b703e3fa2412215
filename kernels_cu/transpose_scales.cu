// FP32 scales [M, K blocks] of any strides, one matrix or one for each group → MN-major with padded rows:
// output[(group · K blocks + k_block) · output_stride + row].
//
// A CTA moves 32 rows × 32 blocks of K. Through shared memory when K is contiguous, so that both sides are coalesced; straight
// when rows are (ROWS_CONTIGUOUS). The padding between two blocks of K, rows M … output_stride − 1, becomes zero; nothing past
// the last scale is written.
#include "config.cuh"
#include "types.cuh"

constexpr uint32_t TILE = 32, NUM_WARPS = 8;

extern "C" __global__ void __launch_bounds__(TILE* NUM_WARPS)
    transpose_scales(const float* input, float* output, uint64_t row_stride, uint64_t k_stride, uint64_t group_stride,
                     uint64_t output_stride, uint32_t m, uint32_t k_blocks) {
    __shared__ float tile[TILE][TILE + 1];  // the odd pitch keeps columns out of one bank
    const uint32_t lane = threadIdx.x % TILE, warp = threadIdx.x / TILE;
    const uint32_t tiles = ceil_div(k_blocks, TILE), group_tiles = tiles * ceil_div(output_stride, TILE);
    const uint32_t group = blockIdx.x / group_tiles, tile_of_group = blockIdx.x % group_tiles;
    const uint32_t first_row = tile_of_group / tiles * TILE, first_block = tile_of_group % tiles * TILE;
    input += group * group_stride;
    output += group * k_blocks * output_stride;
#pragma unroll
    for (uint32_t step = 0; step < TILE / NUM_WARPS; ++step) {
        const uint32_t i = warp + step * NUM_WARPS;
        const uint32_t tile_row = ROWS_CONTIGUOUS ? lane : i, tile_block = ROWS_CONTIGUOUS ? i : lane;
        const uint32_t row = first_row + tile_row, k_block = first_block + tile_block;
        const bool valid = row < m && k_block < k_blocks;
        tile[tile_row][tile_block] = valid ? __ldg(input + row * row_stride + k_block * k_stride) : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (uint32_t step = 0; step < TILE / NUM_WARPS; ++step) {
        const uint32_t i = warp + step * NUM_WARPS;
        const uint32_t row = first_row + lane, k_block = first_block + i;
        const bool is_padding = row >= m && row < output_stride && k_block + 1 < k_blocks;
        if (k_block < k_blocks && (row < m || is_padding)) output[k_block * output_stride + row] = tile[lane][i];
    }
}
