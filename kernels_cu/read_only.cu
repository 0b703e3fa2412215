// Reads memory and does nothing else: what any kernel takes at least that needs as many bytes.
//
// All threads step through the units of 16 bytes side by side, UNROLL of them in flight for each. Every warp leaves the sum of
// the 32-bit words that it has read in `sums`, so that no load can be left out and a host can tell that all were done.
#include "types.cuh"

constexpr uint32_t NUM_THREADS = 512, CTAS_PER_SM = 2, UNROLL = 8;

// Read once: nothing is kept in the L1, and DRAM is asked for 256 bytes at a time.
__device__ __forceinline__ uint4 ld_global_nc_no_allocate(const uint4* source) {
    uint4 words;
    asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
        : "l"(source));
    return words;
}

extern "C" __global__ void __launch_bounds__(NUM_THREADS, CTAS_PER_SM)
    read_only(const uint4* source, uint32_t* sums, uint64_t count) {
    const uint64_t thread = blockIdx.x * NUM_THREADS + threadIdx.x, threads = gridDim.x * NUM_THREADS;
    uint64_t first = thread;
    uint32_t sum = 0;
    for (; first + (UNROLL - 1) * threads < count; first += UNROLL * threads) {
        uint4 words[UNROLL];
#pragma unroll
        for (uint32_t i = 0; i < UNROLL; ++i) words[i] = ld_global_nc_no_allocate(source + first + i * threads);
#pragma unroll
        for (uint32_t i = 0; i < UNROLL; ++i) sum += words[i].x + words[i].y + words[i].z + words[i].w;
    }
#pragma unroll
    for (uint32_t i = 0; i < UNROLL - 1; ++i) {  // the last loads, in flight together as well
        const uint64_t index = first + i * threads;
        const uint4 words = index < count ? ld_global_nc_no_allocate(source + index) : make_uint4(0, 0, 0, 0);
        sum += words.x + words.y + words.z + words.w;
    }
    sum = __reduce_add_sync(0xffffffff, sum);
    if (threadIdx.x % 32 == 0) sums[thread / 32] = sum;
}
