// Zeros in the rows of D that belong to no group; a warp looks after one row. The layout gives each row's group
// (ROWS_NAME_GROUPS), or the end of each group.
#include "config.cuh"
#include "types.cuh"

constexpr uint32_t NUM_WARPS = 8;

__device__ __forceinline__ bool belongs_to_a_block(const int32_t* layout, uint32_t row) {
    const uint32_t group = __ldg(layout + row), of_block = __ldg(layout + row / ALIGNMENT * ALIGNMENT);
    return group == of_block && group < NUM_GROUPS;
}

// Each lane asks some of the groups.
__device__ __forceinline__ bool belongs_to_a_segment(const int32_t* layout, uint32_t row, uint32_t m, uint32_t lane) {
    bool mine = false;
    for (uint32_t group = lane; group < NUM_GROUPS; group += 32) {
        const uint32_t before = group == 0 ? 0 : __ldg(layout + group - 1), end = __ldg(layout + group);
        mine |= before <= m && ceil_div(before, ALIGNMENT) * ALIGNMENT <= row && row < end && end <= m;
    }
    return __any_sync(0xffffffff, mine);
}

extern "C" __global__ void __launch_bounds__(32 * NUM_WARPS)
    zero_padding(const int32_t* layout, bfloat16_t* d, uint64_t d_stride, uint32_t m, uint32_t n) {
    const uint32_t row = blockIdx.x * NUM_WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= m) return;
    if (ROWS_NAME_GROUPS ? belongs_to_a_block(layout, row) : belongs_to_a_segment(layout, row, m, lane)) return;
    for (uint32_t column = lane * 8; column < n; column += 32 * 8)
        *reinterpret_cast<uint4*>(d + row * d_stride + column) = make_uint4(0, 0, 0, 0);
}
