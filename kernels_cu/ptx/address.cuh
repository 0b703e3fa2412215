#pragma once
#include "types.cuh"

namespace ptx {

// The 32-bit address in the shared window that every shared-memory instruction below takes.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace ptx
