"""How much longer products take than those with up to 16 more rows: ``python tools/cliffs.py [NxK …]``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nvgemm
from nvgemm.bench import libraries
from nvgemm.bench.building import build_all
from nvgemm.bench.cold import Flush, measure
from nvgemm.choice.problem import Problem
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import model
from nvgemm.runtime.making import choose

WEIGHTS = ("2112x7168", "4096x7168", "7168x2048", "5120x5120", "24576x1536")
ROWS = sorted({1, 2, 4, 8, *range(16, 1101, 8), *range(17, 1117, 16)})
WINDOW, ROUNDS, TOLD = 16, 7, 1.10


def run(weights: list[tuple[int, int]]) -> None:
    """A row for each N×K, over 209 M: the largest t(M) / min(t(M) … t(M + 16)), cold, and all above `TOLD`."""
    device = model(driver.require_hopper(0))
    libraries.torch()
    build_all(choose(Problem(m, n, k, True), "tuned", device) for n, k in weights for m in ROWS)
    print(f"| N×K | largest | at M | above {TOLD} |\n| --- | --- | --- | --- |")
    for n, k in weights:
        us = _times(n, k)
        cliffs = {m: us[m] / min(us[near] for near in ROWS if m <= near <= m + WINDOW) for m in ROWS}
        most = max(ROWS, key=lambda m: cliffs[m])
        told = ", ".join(f"{m} ({ratio:.3f})" for m, ratio in cliffs.items() if ratio > TOLD)
        print(f"| {n}×{k} | {cliffs[most]:.3f} | {most} | {told or 'none'} |", flush=True)


def _times(n: int, k: int) -> dict[int, float]:
    torch = libraries.torch()
    b = nvgemm.per_block_cast_to_fp8(torch.randn(n, k, device="cuda"))
    tokens = torch.randn(max(ROWS), k, device="cuda")
    plans = {m: nvgemm.plan(nvgemm.per_token_cast_to_fp8(tokens[:m]), b) for m in ROWS}
    return {m: times.us for m, times in measure(torch, Flush(torch), plans, ROUNDS).items()}


if __name__ == "__main__":
    sizes = [each.replace("×", "x").split("x") for each in sys.argv[1:] or WEIGHTS]
    if not all(len(each) == 2 and "".join(each).isdecimal() for each in sizes):
        sys.exit("usage: python tools/cliffs.py [NxK …]")
    run([(int(n), int(k)) for n, k in sizes])
