"""A product with cuda-python and NumPy alone: nvgemm.Array, a stream of our own, and memory by its raw pointer."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import nvgemm

try:
    from cuda.bindings import runtime as cudart
except ImportError:
    sys.exit("framework_free.py: cuda-python is not installed; pip install cuda-python")

TOKENS, IN_FEATURES, OUT_FEATURES = 128, 7168, 2112  # latent query and key/value projection of DeepSeek-V3
ROW_STRIDE = 4096  # elements; the result is the left part of wider rows


def check(result: tuple[Any, ...]) -> Any:
    """Value of a CUDA call, which returns its status first."""
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        raise RuntimeError(f"CUDA: {status.name}")
    return values[0] if values else None


def has_hopper() -> bool:
    status, major = cudart.cudaDeviceGetAttribute(cudart.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor, 0)
    return status == cudart.cudaError_t.cudaSuccess and major == 9


def product(x: np.ndarray, w: np.ndarray, pointer: int, stream: Any) -> str:
    """x · wᵀ of FP32 [tokens, in] and [out, in], written as BF16 to rows of ROW_STRIDE elements at `pointer`."""
    a = nvgemm.per_token_cast_to_fp8(nvgemm.Array.from_numpy(x, stream))  # what follows is ordered by that stream
    b = nvgemm.per_block_cast_to_fp8(nvgemm.Array.from_numpy(w, stream))
    d = nvgemm.ArrayView(pointer, (len(x), len(w)), strides=(ROW_STRIDE, 1), dtype="bfloat16")
    plan = nvgemm.plan(a, b, d)  # checks, chooses, compiles and loads; nvgemm.fp8_gemm_nt(a, b, d) does all at once
    plan()
    return plan.explain()


def main() -> None:
    if not has_hopper():
        sys.exit("framework_free.py: needs a Hopper GPU (compute capability 9.0), and found none")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((TOKENS, IN_FEATURES), dtype=np.float32)
    w = rng.standard_normal((OUT_FEATURES, IN_FEATURES), dtype=np.float32)
    rows = np.zeros((TOKENS, ROW_STRIDE), np.uint16)  # BF16 as bits

    stream = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
    pointer = check(cudart.cudaMalloc(rows.nbytes))
    check(cudart.cudaMemsetAsync(pointer, 0, rows.nbytes, stream))
    print(product(x, w, pointer, stream))
    to_host = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
    check(cudart.cudaMemcpyAsync(rows.ctypes.data, pointer, rows.nbytes, to_host, stream))
    check(cudart.cudaStreamSynchronize(stream))
    check(cudart.cudaFree(pointer))
    check(cudart.cudaStreamDestroy(stream))  # the arrays of `product` have gone before it

    d = nvgemm.reference.decode_bf16(rows)
    error = nvgemm.testing.relative_frobenius(d[:, :OUT_FEATURES], x @ w.T)
    print(f"error {error:.2%} of the FP32 result")
    if not error < 0.05:  # two roundings to E4M3 leave about 3.7 % on normal data
        sys.exit("framework_free.py: the result is wrong, its error is above 5 %")
    print(f"{np.count_nonzero(rows[:, OUT_FEATURES:])} elements changed right of the result")


if __name__ == "__main__":
    main()
