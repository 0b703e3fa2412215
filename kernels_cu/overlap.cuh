// Programmatic dependent launch: whether a product begins before the kernel before it has ended. `Overlap` in
// nvgemm/choice/problem.py.
#pragma once
#include "grouping.cuh"

constexpr uint32_t ALONE = 0;           // it does not
constexpr uint32_t OVERLAPPED = 1;      // it does, but reads and writes nothing that the other may write or read: B goes to the L2
constexpr uint32_t STATIC_WEIGHTS = 2;  // and B and its scales, which nobody writes, are read

// What a tile is stands in a layout, which the kernel before may have written: nothing can be done without it.
constexpr bool WAITS_FIRST = OVERLAP != ALONE && GROUPING >= MASKED;
constexpr bool BEGINS_EARLY = OVERLAP != ALONE && !WAITS_FIRST;
constexpr bool LOADS_EARLY = OVERLAP == STATIC_WEIGHTS && !WAITS_FIRST;
