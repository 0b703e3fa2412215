// D[M, N] = A · Bᵀ of E4M3 codes, summed over all of K in the tensor core: no scales, no promotion. It shows what the hardware's
// own accumulation does, for nvgemm.reference.tensor_core_accumulate to agree with.
//
// One warpgroup a 64×64 tile, m64n64k32, plain copies to shared memory; M and N are multiples of 64, K of 128.
using uint8_t = unsigned char;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;

constexpr uint32_t TILE_ROWS = 64, TILE_BYTES = 128, CHUNK = 16;

// Rows of 128 bytes in the 128-byte swizzle: chunk c of row r lies where chunk c ^ (r % 8) would.
__device__ void copy_tile(uint8_t* tile, const uint8_t* source, uint32_t row_bytes) {
    for (uint32_t i = threadIdx.x; i < TILE_ROWS * TILE_BYTES / CHUNK; i += blockDim.x) {
        const uint32_t row = i / 8, chunk = i % 8;
        *reinterpret_cast<uint4*>(tile + row * TILE_BYTES + (chunk ^ (row % 8)) * CHUNK) =
            *reinterpret_cast<const uint4*>(source + static_cast<uint64_t>(row) * row_bytes + chunk * CHUNK);
    }
}

// K-major, 128-byte swizzle (layout type 1 at bit 62), 1024 bytes between groups of 8 rows; units of 16 bytes.
__device__ uint64_t descriptor(const uint8_t* tile) {
    const uint64_t address = static_cast<uint32_t>(__cvta_generic_to_shared(tile));
    return (1ull << 62) | (64ull << 32) | (1ull << 16) | ((address & 0x3ffff) >> 4);
}

__device__ void mma(float (&d)[32], uint64_t a, uint64_t b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, 1, 1, 1;"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
          "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
          "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
          "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
        : "l"(a), "l"(b));
}

extern "C" __global__ void __launch_bounds__(128) unpromoted(const uint8_t* a, const uint8_t* b, float* d, uint32_t n,
                                                             uint32_t k) {
    __shared__ __align__(1024) uint8_t tile_a[TILE_ROWS * TILE_BYTES], tile_b[TILE_ROWS * TILE_BYTES];
    const uint32_t tiles = n / TILE_ROWS;
    const uint32_t first_row = blockIdx.x / tiles * TILE_ROWS, first_column = blockIdx.x % tiles * TILE_ROWS;
    float sums[32] = {};

    for (uint32_t block = 0; block < k; block += TILE_BYTES) {
        copy_tile(tile_a, a + static_cast<uint64_t>(first_row) * k + block, k);
        copy_tile(tile_b, b + static_cast<uint64_t>(first_column) * k + block, k);
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (uint32_t step = 0; step < 4; ++step) mma(sums, descriptor(tile_a) + 2 * step, descriptor(tile_b) + 2 * step);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        __syncthreads();
    }

    const uint32_t row = first_row + threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
    const uint32_t column = first_column + threadIdx.x % 4 * 2;
#pragma unroll
    for (uint32_t i = 0; i < 32; ++i)
        d[static_cast<uint64_t>(row + i / 2 % 2 * 8) * n + column + i / 4 * 8 + i % 2] = sums[i];
}
