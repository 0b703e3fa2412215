"""Several products in one CUDA graph: warm up, capture, replay, with CuPy's stream capture.

A capture records launches and does nothing else. So beforehand each product runs once (which builds and loads its
kernel), and every operand and result gets memory that stays. Between replays new activations are copied into it.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import nvgemm

try:
    import cupy as cp
except ImportError:
    sys.exit("cuda_graph.py: CuPy is not installed; pip install cupy-cuda13x")

TOKENS = 64
SHAPES = ((2112, 7168), (24576, 1536), (7168, 16384), (4096, 7168), (7168, 2048))  # N, K of a DeepSeek-V3 layer


@dataclass
class Product:
    a: nvgemm.Quantized
    b: nvgemm.Quantized
    d: cp.ndarray

    def launch(self) -> None:
        nvgemm.fp8_gemm_nt(self.a, self.b, self.d)

    def bits(self) -> cp.ndarray:
        return self.d.view(cp.uint16).copy()

    def set_activations(self, x: cp.ndarray) -> None:
        """Put other values into the memory that the graph reads."""
        new = nvgemm.per_token_cast_to_fp8(x)
        self.a.data.view(cp.uint8)[...] = new.data.view(cp.uint8)
        self.a.scales[...] = new.scales


def normal(rows: int, columns: int) -> cp.ndarray:
    return cp.random.standard_normal((rows, columns), dtype=cp.float32)


def make(n: int, k: int) -> Product:
    a, b = nvgemm.per_token_cast_to_fp8(normal(TOKENS, k)), nvgemm.per_block_cast_to_fp8(normal(n, k))
    return Product(a, b, nvgemm.fp8_gemm_nt(a, b))  # the warm-up


def captured(products: list[Product], stream: cp.cuda.Stream) -> cp.cuda.Graph:
    stream.begin_capture()
    for product in products:
        product.launch()
    return stream.end_capture()


def directly(products: list[Product]) -> list[cp.ndarray]:
    for product in products:
        product.launch()
    return [product.bits() for product in products]


def replayed(products: list[Product], graph: cp.cuda.Graph, stream: cp.cuda.Stream) -> list[cp.ndarray]:
    for product in products:
        product.d.view(cp.uint16).fill(0)  # so that only a replay can bring the results back
    graph.launch(stream)
    return [product.bits() for product in products]


def host_microseconds(call: Callable[[], object], stream: cp.cuda.Stream) -> float:
    """Median host time of `call`, the device idle at its start."""
    times = []
    for _ in range(200):
        stream.synchronize()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def run(stream: cp.cuda.Stream) -> None:
    products = [make(n, k) for n, k in SHAPES]
    graph = captured(products, stream)
    print(f"captured {len(products)} products of {TOKENS} tokens")
    for replay in (1, 2, 3):
        for product in products:
            product.set_activations(normal(*product.a.data.shape))
        pairs = zip(directly(products), replayed(products, graph, stream), strict=True)
        if not all(bool((left == right).all()) for left, right in pairs):
            sys.exit(f"cuda_graph.py: replay {replay} gave other bits than direct calls")
        print(f"replay {replay}: the same bits as direct calls, on new activations")

    direct = host_microseconds(lambda: [product.launch() for product in products], stream)
    replay_all = host_microseconds(lambda: graph.launch(stream), stream)
    per = len(products)
    print(f"host time of a product: {replay_all / per:.2f} µs replayed, {direct / per:.2f} µs launched directly")


def has_hopper() -> bool:
    try:
        return cp.cuda.Device().compute_capability == "90"
    except cp.cuda.runtime.CUDARuntimeError:  # no driver, or no GPU
        return False


def main() -> None:
    if not has_hopper():
        sys.exit("cuda_graph.py: needs a Hopper GPU (compute capability 9.0), and found none")
    with cp.cuda.Stream(non_blocking=True) as stream:  # the legacy stream cannot be captured
        run(stream)


if __name__ == "__main__":
    main()
