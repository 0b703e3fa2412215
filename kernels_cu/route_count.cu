// Slots of each chunk that go to each expert: counts[chunk · NUM_EXPERTS + expert]. First of two steps of a routing.
//
// It also clears the rows, so that the second step needs only write those that a token takes. There can be more CTAs than
// chunks; the rest only clear. The order of the additions is left to chance, their sum is not.
#include "config.cuh"
#include "types.cuh"

#include "route.cuh"

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    route_count(const uint8_t* __restrict__ ids, uint32_t* __restrict__ counts, int32_t* __restrict__ layout,
                int32_t* __restrict__ token_of_row, uint32_t slots, uint32_t chunk, uint32_t chunks, uint32_t rows) {
    __shared__ uint32_t count[NUM_EXPERTS];
    clear_rows(token_of_row, layout, rows);
    if (blockIdx.x >= chunks) return;
    for (uint32_t expert = threadIdx.x; expert < NUM_EXPERTS; expert += NUM_THREADS) count[expert] = 0;
    __syncthreads();
    const uint32_t first = blockIdx.x * chunk, end = min_of(first + chunk, slots);
#pragma unroll 4
    for (uint32_t slot = first + threadIdx.x; slot < end; slot += NUM_THREADS) {
        const uint32_t expert = expert_of(ids, slot, end);
        if (expert < NUM_EXPERTS) atomicAdd(&count[expert], 1u);
    }
    __syncthreads();
    for (uint32_t expert = threadIdx.x; expert < NUM_EXPERTS; expert += NUM_THREADS)
        counts[blockIdx.x * NUM_EXPERTS + expert] = count[expert];
}
