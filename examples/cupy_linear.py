"""A linear layer in FP8 on CuPy arrays: the weights are quantised once, the activations in each call."""

from __future__ import annotations

import sys
from collections.abc import Callable

import nvgemm

try:
    import cupy as cp
except ImportError:
    sys.exit("cupy_linear.py: CuPy is not installed; pip install cupy-cuda13x")

TOKENS, IN_FEATURES, OUT_FEATURES = 4096, 4096, 14336  # gate projection of an 8-billion-parameter Llama


class Fp8Linear:
    """``y = x · wᵀ``. Everything runs on CuPy's current stream, and nothing waits for it."""

    def __init__(self, weight: cp.ndarray) -> None:
        """`weight`: FP32 or FP16 [out_features, in_features]; it is not needed afterwards."""
        self.weight = nvgemm.per_block_cast_to_fp8(weight)  # one byte an element, one FP32 scale for each 128×128

    def __call__(self, x: cp.ndarray) -> cp.ndarray:
        """FP32 or FP16 [tokens, in_features] to BF16 [tokens, out_features]."""
        return nvgemm.fp8_gemm_nt(nvgemm.per_token_cast_to_fp8(x), self.weight)


def to_float32(bf16: cp.ndarray) -> cp.ndarray:
    """BF16 is the upper half of FP32. This needs no BF16 arithmetic of CuPy."""
    return (bf16.view(cp.uint16).astype(cp.uint32) << 16).view(cp.float32)


def relative_error(y: cp.ndarray, ref: cp.ndarray) -> float:
    """‖y − ref‖ / ‖ref‖, Frobenius norms."""
    return float(cp.sqrt(cp.square(y - ref).sum() / cp.square(ref).sum()))


def microseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Device time of one call, of many back to back."""
    start, end = cp.cuda.Event(), cp.cuda.Event()
    for _ in range(repeats):  # warm up: an idle GPU runs at a low clock
        call()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    end.synchronize()
    return 1e3 * cp.cuda.get_elapsed_time(start, end) / repeats


def has_hopper() -> bool:
    try:
        return cp.cuda.Device().compute_capability == "90"
    except cp.cuda.runtime.CUDARuntimeError:  # no driver, or no GPU
        return False


def main() -> None:
    if not has_hopper():
        sys.exit("cupy_linear.py: needs a Hopper GPU (compute capability 9.0), and found none")
    weight = cp.random.standard_normal((OUT_FEATURES, IN_FEATURES), dtype=cp.float32) / IN_FEATURES**0.5
    x = cp.random.standard_normal((TOKENS, IN_FEATURES), dtype=cp.float32)
    layer = Fp8Linear(weight)

    y = layer(x)  # the first call of a shape compiles its kernels, unless they are cached
    error = relative_error(to_float32(y), x @ weight.T)
    print(f"y = x · wᵀ: {TOKENS} tokens, {IN_FEATURES} -> {OUT_FEATURES}, result {y.dtype} {y.shape}")
    print(f"error {error:.2%} of the FP32 result")
    if not error < 0.05:  # two roundings to E4M3 leave about 3.7 % on normal data
        sys.exit("cupy_linear.py: the result is wrong, its error is above 5 %")

    fp8, fp32 = microseconds(lambda: layer(x)), microseconds(lambda: x @ weight.T, repeats=5)
    rate = 2 * TOKENS * IN_FEATURES * OUT_FEATURES / fp8 * 1e-6
    print(f"time {fp8:.1f} µs a call with quantising x, {rate:.0f} TFLOP/s; CuPy in FP32 {fp32:.1f} µs")


if __name__ == "__main__":
    main()
