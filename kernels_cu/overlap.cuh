// Programmatic dependent launch: whether a product begins before the kernel before it has ended. `Overlap` in
// nvgemm/choice/problem.py.
#pragma once
#include "grouping.cuh"
#include "ptx/ld_global.cuh"

constexpr uint32_t ALONE = 0;           // it does not
constexpr uint32_t OVERLAPPED = 1;      // it does, but reads and writes nothing that the other may write or read: B goes to the L2
constexpr uint32_t STATIC_WEIGHTS = 2;  // and B and its scales, which nobody writes, are read

// What a tile is stands in a layout, which the kernel before may have written: nothing can be done without it.
constexpr bool WAITS_FIRST = OVERLAP != ALONE && GROUPING >= MASKED;
constexpr bool BEGINS_EARLY = OVERLAP != ALONE && !WAITS_FIRST;
constexpr bool MAY_BEGIN_A = !BEGINS_EARLY, MAY_BEGIN_B = !BEGINS_EARLY || OVERLAP == STATIC_WEIGHTS;  // to copy, at its start

// Scales of B and layouts. What the kernel before has written while this one ran may not come through the read-only path,
// nor from this SM's L1, where the old may lie.
template <typename T>
__device__ __forceinline__ T load_settled(const T* from) {
    if constexpr (OVERLAP == ALONE)
        return __ldg(from);
    else
        return ptx::ld_global_cg(from);
}
