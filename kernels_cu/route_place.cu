// The row of each slot, the token of each row, and where each expert's rows lie. Second of two steps of a routing.
//
// A row is its expert's start, plus the expert's slots in earlier chunks, in earlier warps of this CTA, and before the slot in
// its own warp: so rows of an expert follow the order of slots, whatever runs when. Each warp has a contiguous piece of the
// chunk and goes through it twice, 32 slots at a time: to count, and, when all counts are known, to place.
// Without `counts` there is one chunk only, and this CTA does everything that the first step would have done.
#include "config.cuh"
#include "types.cuh"

#include "route.cuh"

constexpr uint32_t ALL_LANES = 0xffffffff;
constexpr uint32_t EXPERT_GROUPS = ceil_div(NUM_EXPERTS, 32);  // a warp takes 32 experts, one a lane
constexpr uint32_t PARTS = NUM_WARPS > EXPERT_GROUPS ? NUM_WARPS / EXPERT_GROUPS : 1;  // warps that share a group's chunks

struct Tables {
    uint32_t next[NUM_WARPS][NUM_EXPERTS];  // slots of a warp's piece at first, then the row of its next slot
    uint32_t before[NUM_EXPERTS];           // slots in earlier chunks
    uint32_t total[NUM_EXPERTS];            // slots in all chunks
    uint32_t group_rows[32];                // rows that 32 experts take together
};

__device__ __forceinline__ void clear(Tables& tables) {
    uint32_t* words = reinterpret_cast<uint32_t*>(&tables);
    for (uint32_t i = threadIdx.x; i < sizeof(Tables) / 4; i += NUM_THREADS) words[i] = 0;
}

__device__ __forceinline__ void add_chunks(Tables& tables, const uint32_t* counts, uint32_t chunks) {
    const uint32_t lane = threadIdx.x % 32;
    for (uint32_t item = threadIdx.x / 32; item < EXPERT_GROUPS * PARTS; item += NUM_WARPS) {
        const uint32_t expert = item % EXPERT_GROUPS * 32 + lane;
        if (expert >= NUM_EXPERTS) continue;
        uint32_t before = 0, total = 0;
#pragma unroll 16
        for (uint32_t chunk = item / EXPERT_GROUPS; chunk < chunks; chunk += PARTS) {
            const uint32_t count = __ldg(counts + chunk * NUM_EXPERTS + expert);
            total += count;
            before += chunk < blockIdx.x ? count : 0;
        }
        atomicAdd(&tables.before[expert], before);
        atomicAdd(&tables.total[expert], total);
    }
}

__device__ __forceinline__ void add_warps(Tables& tables) {
    for (uint32_t expert = threadIdx.x; expert < NUM_EXPERTS; expert += NUM_THREADS) {
        uint32_t total = 0;
#pragma unroll
        for (uint32_t warp = 0; warp < NUM_WARPS; ++warp) total += tables.next[warp][expert];
        tables.total[expert] = total;
    }
}

// Rows of one lane's expert and of those before it in the group.
__device__ __forceinline__ uint32_t inclusive_sum(uint32_t value) {
    const uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t step = 1; step < 32; step *= 2) {
        const uint32_t lower = __shfl_up_sync(ALL_LANES, value, step);
        if (lane >= step) value += lower;
    }
    return value;
}

__device__ __forceinline__ uint32_t rows_of(uint32_t slots, uint32_t alignment) {
    if constexpr (LAYOUT == OFFSETS) return slots;
    if constexpr (LAYOUT == CONTIGUOUS) return ceil_div(slots, alignment) * alignment;
    return 0;  // masked: rows are counted from the start of the expert's own max_m
}

// `before` becomes the row of the chunk's first slot of each expert; one CTA writes where the experts lie.
__device__ __forceinline__ void find_starts(Tables& tables, int32_t* layout, uint32_t alignment, uint32_t max_m) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (uint32_t group = warp; group < EXPERT_GROUPS; group += NUM_WARPS) {
        const uint32_t expert = group * 32 + lane;
        const uint32_t sum = inclusive_sum(expert < NUM_EXPERTS ? rows_of(tables.total[expert], alignment) : 0);
        if (lane == 31) tables.group_rows[group] = sum;
    }
    __syncthreads();
    for (uint32_t group = warp; group < EXPERT_GROUPS; group += NUM_WARPS) {
        const uint32_t expert = group * 32 + lane;
        const uint32_t slots = expert < NUM_EXPERTS ? tables.total[expert] : 0;
        const uint32_t rows = rows_of(slots, alignment);
        const uint32_t end = __reduce_add_sync(ALL_LANES, lane < group ? tables.group_rows[lane] : 0) + inclusive_sum(rows);
        if (expert >= NUM_EXPERTS) continue;
        tables.before[expert] += end - rows;
        if (blockIdx.x > 0) continue;
        if constexpr (LAYOUT == OFFSETS) {
            layout[expert] = end - rows;
            if (expert + 1 == NUM_EXPERTS) layout[NUM_EXPERTS] = end;
        } else if constexpr (LAYOUT == MASKED) {
            layout[expert] = min_of(slots, max_m);
        }
    }
}

__device__ __forceinline__ void find_warp_starts(Tables& tables) {
    for (uint32_t expert = threadIdx.x; expert < NUM_EXPERTS; expert += NUM_THREADS) {
        uint32_t row = tables.before[expert];
#pragma unroll
        for (uint32_t warp = 0; warp < NUM_WARPS; ++warp) {
            const uint32_t slots = tables.next[warp][expert];
            tables.next[warp][expert] = row;
            row += slots;
        }
    }
}

extern "C" __global__ void __launch_bounds__(NUM_THREADS)
    route_place(const uint8_t* __restrict__ ids, const uint32_t* __restrict__ counts, int32_t* __restrict__ layout,
                int32_t* __restrict__ token_of_row, int32_t* __restrict__ row_of_slot, uint32_t slots, uint32_t chunk,
                uint32_t chunks, uint32_t rows, uint32_t top_k, uint32_t alignment, uint32_t max_m) {
    __shared__ Tables tables;
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t piece = chunk / NUM_WARPS;
    const uint32_t first = blockIdx.x * chunk + warp * piece, end = min_of(first + piece, slots);
    if (counts == nullptr) clear_rows(token_of_row, layout, rows);
    clear(tables);
    __syncthreads();

#pragma unroll 4
    for (uint32_t base = first; base < end; base += 32) {
        const uint32_t expert = expert_of(ids, base + lane, end);
        if (expert < NUM_EXPERTS) atomicAdd(&tables.next[warp][expert], 1u);
    }
    if (counts != nullptr) add_chunks(tables, counts, chunks);
    __syncthreads();
    if (counts == nullptr) {
        add_warps(tables);
        __syncthreads();
    }
    find_starts(tables, layout, alignment, max_m);
    __syncthreads();
    find_warp_starts(tables);
    __syncthreads();

    uint32_t expert = expert_of(ids, first + lane, end);
    for (uint32_t base = first; base < end; base += 32) {
        const uint32_t slot = base + lane;
        const uint32_t expert_ahead = expert_of(ids, slot + 32, end);  // its latency passes behind this round
        const uint32_t peers = __match_any_sync(ALL_LANES, expert);
        const uint32_t rank = __popc(peers & ((1u << lane) - 1));
        const bool is_routed = expert < NUM_EXPERTS;
        const uint32_t place = is_routed ? tables.next[warp][expert] + rank : 0;
        __syncwarp();  // all lanes have read before the first of each expert moves it on
        if (is_routed && rank == 0) tables.next[warp][expert] = place + __popc(peers);
        __syncwarp();
        const bool has_row = is_routed && (LAYOUT != MASKED || place < max_m);
        const uint32_t row = LAYOUT == MASKED ? expert * max_m + place : place;
        if (has_row) token_of_row[row] = slot / top_k;
        if (LAYOUT == CONTIGUOUS && has_row) layout[row] = expert;
        if (slot < end) row_of_slot[slot] = has_row ? static_cast<int32_t>(row) : NOBODY;
        expert = expert_ahead;
    }
}
