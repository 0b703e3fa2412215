// A small FP8 kernel with the shape of a real one: TMA-style bulk copies feed a ring of stages, WGMMA multiplies, and CUDA cores
// promote each 128 of K into FP32. It exists to give the SASS tests real sm_90a code and is never launched.
// BLOCK_N, STAGES and `wgmma(float*, uint64_t, uint64_t, int)` come from the generated header.
#include "generated.cuh"

typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;

constexpr int BLOCK_K = 128;
constexpr int ROWS = 64;                                     // rows of one consumer warpgroup
constexpr int A_BYTES = 2 * ROWS * BLOCK_K;
constexpr int B_BYTES = BLOCK_N * BLOCK_K;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES + 2 * ROWS * 4;
constexpr bool TWO_SCALES = 128 % BLOCK_N != 0;              // the block then straddles two 128-wide scale columns

__device__ __forceinline__ uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void mbarrier_init(uint32_t barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t phase) {
    asm volatile("{\n.reg .pred done;\nagain:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra over;\nbra again;\nover:\n}"
                 :: "r"(barrier), "r"(phase) : "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory");
}

__device__ __forceinline__ void bulk_copy(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 :: "r"(to), "l"(from), "r"(bytes), "r"(barrier) : "memory");
}

__device__ __forceinline__ uint64_t descriptor(uint32_t address) {
    return uint64_t((address & 0x3ffff) >> 4) | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;   // 128-byte swizzle
}

extern "C" __global__ void __launch_bounds__(384, 1)
promotion(const char* a, const char* b, const float* sfa, const float* sfb, float* d, int k_blocks) {
    extern __shared__ __align__(1024) char stages[];
    __shared__ uint64_t full[STAGES], empty[STAGES];
    if (threadIdx.x == 0)
        for (int s = 0; s < STAGES; ++s) {
            mbarrier_init(shared_address(full + s), 1);
            mbarrier_init(shared_address(empty + s), 2);
        }
    __syncthreads();
    const int warpgroup = threadIdx.x / 128;
    if (warpgroup == 2) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 256)
            for (int i = 0; i < k_blocks; ++i) {
                const int s = i % STAGES;
                const uint32_t to = shared_address(stages + s * STAGE_BYTES), barrier = shared_address(full + s);
                mbarrier_wait(shared_address(empty + s), (i / STAGES & 1) ^ 1);
                asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(barrier), "r"(STAGE_BYTES) : "memory");
                bulk_copy(to, a + i * A_BYTES, A_BYTES, barrier);
                bulk_copy(to + A_BYTES, b + i * B_BYTES, B_BYTES, barrier);
                bulk_copy(to + A_BYTES + B_BYTES, sfa + i * 2 * ROWS, 2 * ROWS * 4, barrier);
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int row = warpgroup * ROWS + threadIdx.x / 32 % 4 * 16 + threadIdx.x % 32 / 4;
    float sum[BLOCK_N / 2] = {0}, partial[BLOCK_N / 2];
    for (int outer = 0; outer < k_blocks; outer += STAGES) {
#pragma unroll
        for (int s = 0; s < STAGES; ++s) {
            const char* stage = stages + s * STAGE_BYTES;
            const float scale_b0 = sfb[outer + s], scale_b1 = TWO_SCALES ? sfb[k_blocks + outer + s] : 0.0f;
            mbarrier_wait(shared_address(full + s), outer / STAGES & 1);
            const float* scales = reinterpret_cast<const float*>(stage + A_BYTES + B_BYTES);
            const float scale_0 = scales[row], scale_8 = scales[row + 8];
#pragma unroll
            for (int i = 0; i < BLOCK_N / 2; ++i) asm volatile("" : "+f"(partial[i]) :: "memory");
            asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
            for (int k = 0; k < BLOCK_K / 32; ++k)
                wgmma(partial, descriptor(shared_address(stage + warpgroup * ROWS * BLOCK_K + k * 32)),
                      descriptor(shared_address(stage + A_BYTES + k * 32)), k != 0);
            asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#pragma unroll
            for (int i = 0; i < BLOCK_N / 2; ++i) asm volatile("" : "+f"(partial[i]) :: "memory");
            asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
            if (threadIdx.x % 128 == 0) mbarrier_arrive(shared_address(empty + s));
            const float s00 = scale_0 * scale_b0, s80 = scale_8 * scale_b0, s01 = scale_0 * scale_b1, s81 = scale_8 * scale_b1;
#pragma unroll
            for (int i = 0; i < BLOCK_N / 8; ++i) {
                const bool second = TWO_SCALES && i >= BLOCK_N / 16;
                sum[4 * i + 0] += (second ? s01 : s00) * partial[4 * i + 0];
                sum[4 * i + 1] += (second ? s01 : s00) * partial[4 * i + 1];
                sum[4 * i + 2] += (second ? s81 : s80) * partial[4 * i + 2];
                sum[4 * i + 3] += (second ? s81 : s80) * partial[4 * i + 3];
            }
        }
    }
#pragma unroll
    for (int i = 0; i < BLOCK_N / 8; ++i) {
        float* out = d + row * BLOCK_N + i * 8 + threadIdx.x % 4 * 2;
        *reinterpret_cast<float2*>(out) = make_float2(sum[4 * i], sum[4 * i + 1]);
        *reinterpret_cast<float2*>(out + 8 * BLOCK_N) = make_float2(sum[4 * i + 2], sum[4 * i + 3]);
    }
}

// FFMAs without a tensor core in sight: no promotion, so nothing here may change.
extern "C" __global__ void polynomial(const float* x, const float* y, float* d, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float p = x[i], q = y[i], sum = 0;
#pragma unroll
    for (int k = 0; k < 24; ++k) {
        sum = sum * p + q;
        p = p * q + sum;
    }
    d[i] = sum;
}
