"""Host time of a call: bursts of 64 with the device idle at the start, so that the queue never fills."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import nvgemm
from nvgemm.runtime import driver

BURST, CALLS = 64, 2048


def run() -> None:
    """Print host times of one product from CuPy arrays, in µs."""
    driver.require_hopper(0)
    cupy = importlib.import_module("cupy")
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        for name, call in _calls(cupy).items():
            print(f"{name:<44}{median_microseconds(call, stream.synchronize):>7.2f} µs")


def median_microseconds(call: Callable[[], object], synchronize: Callable[[], object]) -> float:
    """Median host time of `call` in µs, over 2,048 calls in bursts of 64."""
    samples = []
    for _ in range(CALLS // BURST):
        synchronize()
        for _ in range(BURST):
            start = time.perf_counter_ns()
            call()
            samples.append(time.perf_counter_ns() - start)
    return statistics.median(samples) * 1e-3


def _calls(cupy: Any) -> dict[str, Callable[[], object]]:
    a = nvgemm.per_token_cast_to_fp8(cupy.random.standard_normal((64, 2048), dtype="float32"))
    b = nvgemm.per_block_cast_to_fp8(cupy.random.standard_normal((576, 2048), dtype="float32"))
    d = nvgemm.fp8_gemm_nt(a, b)
    plan = nvgemm.plan(a, b, d)

    def fresh() -> object:
        """Operand objects that no call has seen, as they come out of the layers of a model."""
        return nvgemm.fp8_gemm_nt((a.data[:], a.scales[:]), (b.data[:], b.scales[:]), d[:])

    def slices() -> object:
        return (a.data[:], a.scales[:]), (b.data[:], b.scales[:]), d[:]

    return {
        "fp8_gemm_nt(a, b, d)": lambda: nvgemm.fp8_gemm_nt(a, b, d),
        "fp8_gemm_nt(a, b, d), fresh operand objects": fresh,
        "  of that, making the objects": slices,
        "fp8_gemm_nt(a, b), result allocated": lambda: nvgemm.fp8_gemm_nt(a, b),
        "plan()": plan,
    }
