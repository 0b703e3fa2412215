"""Times of the dense suite on device 0."""

from __future__ import annotations

import nvgemm
from nvgemm.bench.layer import Product, activations, weights
from nvgemm.bench.suites import DENSE
from nvgemm.bench.timing import median_seconds
from nvgemm.runtime import driver


def run() -> None:
    """Print one line a shape: median time, TFLOP/s and GB/s."""
    import numpy as np

    device = driver.require_hopper(0)
    rng = np.random.default_rng(0)
    print(f"{device.name}: median of 50 launches, L2 warm")
    print(f"{'M':>6}{'N':>7}{'K':>7}{'µs':>10}{'TFLOP/s':>9}{'GB/s':>7}")
    for m, n, k in DENSE:
        a = nvgemm.per_token_cast_to_fp8(nvgemm.Array.from_numpy(activations(rng, m, k)))
        b = nvgemm.per_block_cast_to_fp8(nvgemm.Array.from_numpy(weights(rng, n, k)))
        plan = nvgemm.plan(a, b, nvgemm.fp8_gemm_nt(a, b, stream=0), stream=0)
        seconds, product = median_seconds(plan), Product("", m, n, k)
        rates = f"{product.flop / seconds * 1e-12:>9.0f}{product.bytes / seconds * 1e-9:>7.0f}"
        print(f"{m:>6}{n:>7}{k:>7}{seconds * 1e6:>10.2f}{rates}", flush=True)
