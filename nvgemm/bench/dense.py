"""The dense suite with a cold L2, beside cuBLASLt's block-scaled products."""

from __future__ import annotations

import importlib
import math
from typing import Any

import nvgemm
from nvgemm.bench.cold import Flush, Times, measure
from nvgemm.bench.layer import Product
from nvgemm.bench.peers import cublaslt
from nvgemm.bench.suites import DENSE
from nvgemm.runtime import driver


def run() -> None:
    """Print one line a shape: ours, each peer, and how many times faster than the fastest of them; needs torch."""
    device = driver.require_hopper(0)
    torch = importlib.import_module("torch")
    print(f"{device.name}; µs: median of 30 kernel times, L2 flushed clean, contenders alternating")
    print(
        f"{'M':>6}{'N':>7}{'K':>7}{'nvgemm':>10}{'spread':>8}{'TFLOP/s':>9}{'block128':>10}{'block1':>10}{'ratio':>7}"
    )
    flush, ratios = Flush(torch), []
    for m, n, k in DENSE:
        times = _times(torch, flush, m, n, k)
        ours = times.pop("nvgemm")
        ratio = min((peer.median for peer in times.values()), default=math.nan) / ours.median
        ratios.append((ratio, m))
        print(_line(Product("", m, n, k), ours, times, ratio), flush=True)
    _summary(ratios)


def _times(torch: Any, flush: Flush, m: int, n: int, k: int) -> dict[str, Times]:
    a = nvgemm.per_token_cast_to_fp8(torch.randn(m, k, device="cuda"))
    b = nvgemm.per_block_cast_to_fp8(torch.randn(n, k, device="cuda"))
    plan = nvgemm.plan(a, b)
    plan()
    return measure(torch, flush, {"nvgemm": plan, **cublaslt(torch, a, b)})


def _line(product: Product, ours: Times, peers: dict[str, Times], ratio: float) -> str:
    shape = f"{product.m:>6}{product.n:>7}{product.k:>7}"
    spread = (ours.median - ours.quarter) / ours.median
    mine = f"{ours.median:>10.2f}{spread:>8.1%}{product.flop / ours.median * 1e-6:>9.0f}"
    names = ("cublaslt block128", "cublaslt block1")
    others = "".join(f"{peers[name].median:>10.2f}" if name in peers else f"{'-':>10}" for name in names)
    return f"{shape}{mine}{others}{ratio:>7.2f}"


def _summary(ratios: list[tuple[float, int]]) -> None:
    for low, high in ((1, 128), (256, 1024), (2048, 8192)):
        part = [ratio for ratio, m in ratios if low <= m <= high and not math.isnan(ratio)]
        if not part:
            continue
        geomean = math.exp(sum(map(math.log, part)) / len(part))
        print(f"M {low} … {high}: geomean {geomean:.3f}, least {min(part):.2f}, {len(part)} shapes")
