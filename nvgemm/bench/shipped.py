"""Products under the policy that each gets, beside the compiler's own bits: the same results, and how fast they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nvgemm import settings
from nvgemm.bench.building import build_all
from nvgemm.bench.policies import AGAIN, ASIS, PolicySweep
from nvgemm.bench.suites import SUITES
from nvgemm.bench.workload import Workload
from nvgemm.choice.completion import blocks_in
from nvgemm.choice.config import GemmConfig
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import model
from nvgemm.runtime.making import Making, choose

ROUNDS = 12


class Beside(NamedTuple):
    """A product whose results are those of the compiler's own bits, each of them."""

    workload: Workload
    config: GemmConfig
    made: Making
    speed: float  # with a flushed L2, times that of `ASIS`
    noise: float  # how far the same cubin loaded twice is apart


def run(suites: Iterable[str]) -> None:
    """Print what the products of `suites` get on device 0 as a Markdown table; needs torch.

    Raises
    ------
    RuntimeError
        A result differs from that of the compiler's own bits.
    """
    print("| product | tile | policy | speed | noise |\n| --- | --- | --- | --- | --- |")
    for found in beside_asis([Workload(suite, shape) for suite in suites for shape in SUITES[suite].shapes]):
        name = f"{found.workload.suite} {found.workload.name}"
        tile, policy = f"{found.config.block_m}×{found.config.block_n}", " ".join(filter(None, found.made))
        print(f"| {name} | {tile} | `{policy}` | {found.speed:.3f} | {found.noise:.3f} |", flush=True)


def beside_asis(workloads: Iterable[Workload]) -> Iterator[Beside]:
    """Each of `workloads`, timed."""
    device = model(driver.require_hopper(0))
    chosen = {workload: choose(workload.problem, settings.sass, device) for workload in workloads}
    build_all(  # what both ways are patched from
        (config, ASIS._replace(compiler=compiler))
        for config, made in chosen.values()
        for compiler in (ASIS.compiler, made.compiler)
    )
    for workload, (config, made) in chosen.items():
        sweep = PolicySweep(workload, blocks_in(config), sets=1)
        times = sweep.times(dict.fromkeys([ASIS, AGAIN, made]), ROUNDS)
        speed, again = (times[ASIS].us / times[other].us for other in (made, AGAIN))
        yield Beside(workload, config, made, speed, abs(again - 1))
