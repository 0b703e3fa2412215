// PTX ISA, "Parallel Synchronization and Communication Instructions: griddepcontrol", and what may be fetched before it.
#pragma once
#include "types.cuh"

namespace ptx {

// Until the kernels that this launch depends on have ended and what they wrote is visible; at once where there are none.
__device__ __forceinline__ void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Lets the next kernel of the stream begin, if it was launched to, once all CTAs have come here or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() { asm volatile("griddepcontrol.launch_dependents;"); }

// A box into the L2 alone: what is written there afterwards is seen.
__device__ __forceinline__ void cp_async_bulk_prefetch_tensor_2d(const TensorMap& map, uint32_t x, uint32_t y) {
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&map), "r"(x), "r"(y) : "memory");
}

}  // namespace ptx
