"""What programmatic dependent launch gains: ``python tools/overlap.py [MxNxK …]``."""

import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nvgemm
from nvgemm.bench import libraries

SHAPES = (
    "1x2112x7168",
    "64x576x7168",
    "64x2112x7168",
    "64x4096x7168",
    "64x7168x2048",
    "64x24576x1536",
    "128x4096x7168",
    "512x4096x7168",
)
WAYS: dict[str, dict[str, Any]] = {
    "one after the other": {},
    "`pdl=True`": {"pdl": True},
    "and `weights_static=True`": {"pdl": True, "weights_static": True},
}
PRODUCTS, REPLAYS, MOST_WEIGHTS = 40, 12, 16
L2_TIMES_4 = 200 << 20  # bytes of weights in turn, so that each product's come from memory


def run(shapes: list[tuple[int, int, int]]) -> None:
    """A row for each product: µs of one of 40 in a CUDA graph, in each way."""
    print(f"| M | N×K | {' | '.join(WAYS)} |\n| --- | --- |{' --- |' * len(WAYS)}")
    for m, n, k in shapes:
        print(f"| {m} | {n}×{k} | {' | '.join(f'{_us(m, n, k, way):.2f}' for way in WAYS.values())} |", flush=True)


def _us(m: int, n: int, k: int, way: dict[str, Any]) -> float:
    torch = libraries.torch()
    a = nvgemm.per_token_cast_to_fp8(torch.randn(m, k, device="cuda"))
    count = max(2, min(MOST_WEIGHTS, L2_TIMES_4 // (n * k) + 1))
    weights = [nvgemm.per_block_cast_to_fp8(torch.randn(n, k, device="cuda")) for _ in range(count)]
    results = [torch.empty(m, n, dtype=torch.bfloat16, device="cuda") for _ in weights]
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        for b, d in zip(weights, results, strict=True):
            nvgemm.fp8_gemm_nt(a, b, d, **way)
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            for i in range(PRODUCTS):
                nvgemm.fp8_gemm_nt(a, weights[i % count], results[i % count], **way)
        return statistics.median(_replay(torch, graph, stream) for _ in range(REPLAYS)) / PRODUCTS


def _replay(torch: Any, graph: Any, stream: Any) -> float:
    """µs."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record(stream)
    graph.replay()
    end.record(stream)
    stream.synchronize()
    return float(start.elapsed_time(end)) * 1e3


if __name__ == "__main__":
    run([(int(m), int(n), int(k)) for m, n, k in (each.split("x") for each in sys.argv[1:] or SHAPES)])
