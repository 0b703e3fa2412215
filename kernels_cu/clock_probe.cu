// The SM clock as it is now: clocks of one SM over 20 µs of the GPU's nanosecond timer, which does not follow the clock.
//
// results[0] counts the measurements, of which each adds two numbers: clocks and nanoseconds. One thread, so launches
// on a stream take their turns.
#include "types.cuh"

constexpr uint64_t NANOSECONDS = 20000;

__device__ uint64_t globaltimer() {
    uint64_t now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    return now;
}

extern "C" __global__ void clock_probe(uint64_t* results) {
    const uint64_t before = globaltimer();
    uint64_t start = before;
    while (start == before) start = globaltimer();  // the timer moves in steps: begin and end on one
    const uint64_t first = clock64();
    uint64_t end = start;
    while (end < start + NANOSECONDS) end = globaltimer();
    const uint64_t last = clock64(), index = results[0]++;
    results[1 + 2 * index] = last - first;
    results[2 + 2 * index] = end - start;
}
