// PTX ISA, "Data Movement and Conversion Instructions: cp.async.bulk.tensor". The copies that a tensor map describes.
#pragma once
#include "ptx/address.cuh"

namespace ptx {

__device__ __forceinline__ void prefetch_tensormap(const TensorMap& map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// Global to shared; `barrier` counts the bytes. x runs along the contiguous dimension.
__device__ __forceinline__ void cp_async_bulk_tensor_2d(void* target, const TensorMap& map, uint64_t* barrier,
                                                        uint32_t x, uint32_t y) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
            shared_address(target)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y)
        : "memory");
}

// The same, written to the same place in every CTA of `cta_mask`, and counted by the barrier at the same place there.
__device__ __forceinline__ void cp_async_bulk_tensor_2d_multicast(void* target, const TensorMap& map, uint64_t* barrier,
                                                                  uint32_t x, uint32_t y, uint16_t cta_mask) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
        "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(target)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "h"(cta_mask)
        : "memory");
}

// To one CTA, of what no other reads: these lines are the first that the L2 gives up.
__device__ __forceinline__ void cp_async_bulk_tensor_2d_evict_first(void* target, const TensorMap& map, uint64_t* barrier,
                                                                    uint32_t x, uint32_t y) {
    uint64_t policy;
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(shared_address(target)),
        "l"(&map), "r"(shared_address(barrier)), "r"(x), "r"(y), "l"(policy)
        : "memory");
}

// A box into the L2 alone: what is written there afterwards is seen.
__device__ __forceinline__ void cp_async_bulk_prefetch_tensor_2d(const TensorMap& map, uint32_t x, uint32_t y) {
    asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global [%0, {%1, %2}];" ::"l"(&map), "r"(x), "r"(y) : "memory");
}

// Shared to global; what lies past the edge of the tensor is not written.
__device__ __forceinline__ void cp_async_bulk_tensor_2d_store(const TensorMap& map, const void* source, uint32_t x,
                                                              uint32_t y) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map),
                 "r"(shared_address(source)), "r"(x), "r"(y)
                 : "memory");
}

// Shared to global without a tensor map: both addresses and `bytes` are multiples of 16.
__device__ __forceinline__ void cp_async_bulk_store(void* target, const void* source, uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(target),
                 "r"(shared_address(source)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void cp_async_bulk_commit_group() { asm volatile("cp.async.bulk.commit_group;"); }

// Until at most N of this thread's newest groups still read shared memory.
template <int N>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory");
}

}  // namespace ptx
