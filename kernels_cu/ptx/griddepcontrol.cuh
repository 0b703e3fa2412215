// PTX ISA, "Parallel Synchronization and Communication Instructions: griddepcontrol".
#pragma once

namespace ptx {

// Until the kernels that this launch depends on have ended and what they wrote is visible; at once where there are none.
__device__ __forceinline__ void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Lets the next kernel of the stream begin, if it was launched to, once all CTAs have come here or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() { asm volatile("griddepcontrol.launch_dependents;"); }

}  // namespace ptx
