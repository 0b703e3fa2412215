"""What programmatic dependent launch gains: ``python tools/overlap.py [MxNxK …]``."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nvgemm
from nvgemm.bench import libraries, sustained
from nvgemm.bench.workload import Workload
from nvgemm.runtime import driver

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
LEAST, ROUNDS = 40, 12  # products in a graph: the first and the last of which overlap with nothing on one side


def run(shapes: list[str]) -> None:
    """A row for each product: µs of one of many in a CUDA graph, operands in turn; the ways alternate."""
    driver.require_hopper(0)
    torch = libraries.torch()
    workloads = [Workload.parse("dense", shape.replace("×", "x").split("x")) for shape in shapes]
    print(f"| M | N×K | {' | '.join(WAYS)} |\n| --- | --- |{' --- |' * len(WAYS)}")
    for workload in workloads:
        m, n, k = workload.problem[:3]
        print(f"| {m} | {n}×{k} | {' | '.join(f'{us:.2f}' for us in _times(torch, workload))} |", flush=True)


def _times(torch: Any, workload: Workload) -> list[float]:
    """µs, in the order of `WAYS`."""
    sets = [workload.operands(torch) for _ in range(sustained.sets_of(workload.shape.bytes))]
    in_turn = sets * -(-LEAST // len(sets))
    runs = {
        name: [partial(nvgemm.fp8_gemm_nt, of.a, of.b, of.d, **way) for of in in_turn] for name, way in WAYS.items()
    }
    times = sustained.beside(torch, runs, ROUNDS)
    return [times[name].us for name in WAYS]


if __name__ == "__main__":
    run(sys.argv[1:] or list(SHAPES))
