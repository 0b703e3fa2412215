"""Policies of the control bits with two compilers: ``python tools/compilers.py``; needs the extra ``nvrtc12``."""

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench.building import build_all
from nvgemm.bench.policies import PolicySweep, Ratios, against_asis
from nvgemm.bench.results import geomean
from nvgemm.bench.suites import SUITES
from nvgemm.bench.workload import Workload
from nvgemm.choice.completion import blocks_in
from nvgemm.choice.config import GemmConfig
from nvgemm.runtime import driver, nvrtc
from nvgemm.runtime.device_model import model
from nvgemm.runtime.making import Making, choose

POLICIES = ("asis", "none", "s2e2", "s2e4", "s2e8", "s3e4", "hd32", "s2e2-hd32", "s2e4-hd32", "s2e2-9_16", "e2p1")
COMPILERS = (None, "12.8")  # the newest, and the one beside it
DENSE = (
    "512 4096 7168",
    "2048 7168 16384",
    "2048 24576 1536",
    "4096 576 7168",
    "4096 2112 7168",
    "4096 4096 7168",
    "4096 7168 2048",
    "4096 7168 16384",
    "4096 24576 1536",
    "4096 32768 512",
    "8192 4096 7168",
    "8192 8192 8192",
)
ROUNDS = 8
Found = dict[tuple[Workload, GemmConfig], dict[Making, Ratios]]


def run() -> None:
    """Print every policy of every product, with each compiler, over the newest one's own bits."""
    device, own = model(driver.require_hopper(0)), {}
    if not nvrtc.is_installed("12.8"):
        sys.exit("compilers.py: needs the extra nvrtc12, and NVGEMM_NVRTC unset, which would stand for both compilers")
    workloads = [Workload.parse("dense", shape.split()) for shape in DENSE]
    workloads += [Workload("contiguous", shape) for shape in SUITES["contiguous"].shapes[:4]]
    for workload in workloads:
        own[workload] = choose(workload.problem, "tuned", device)
    build_all((config, Making("asis", compiler)) for config, _ in own.values() for compiler in COMPILERS)
    found: Found = {}
    for workload, (config, made) in own.items():
        found[workload, config] = _ratios(workload, config, made)
        print(workload.name, file=sys.stderr, flush=True)
    print(f"Speed over `asis` of {_name(None)}, cold and under load; geometric means first.")
    _print_means(found)
    _print_best(found)
    for compiler in COMPILERS:
        _print_all(found, compiler)


def _ratios(workload: Workload, config: GemmConfig, made: Making) -> dict[Making, Ratios]:
    ways = [Making(policy, compiler) for compiler in COMPILERS for policy in POLICIES]
    return against_asis(PolicySweep(workload, blocks_in(config)), [*ways, made], ROUNDS)


def _speeds(ratios: Iterable[Ratios]) -> str:
    """Cold and under load, geometric means."""
    cold, sustained, *_ = zip(*ratios, strict=True)
    return f"{1 / geomean(cold):.3f} {1 / geomean(sustained):.3f}"


def _print_means(found: Found) -> None:
    print(f"\n| policy | {' | '.join(map(_name, COMPILERS))} |\n| --- | --- | --- |")
    for policy in POLICIES:
        cells = (_speeds(each[Making(policy, compiler)] for each in found.values()) for compiler in COMPILERS)
        print(f"| `{policy}` | {' | '.join(cells)} |")


def _print_best(found: Found) -> None:
    heads = " | ".join(f"best of {_name(compiler)} | speed" for compiler in COMPILERS)
    print(f"\n| product | tile | {heads} | noise |\n| --- | --- | --- | --- | --- | --- | --- |")
    alone, both = [], []
    for (workload, config), ratios in found.items():
        best = [_best(ratios, compiler) for compiler in COMPILERS]
        cells = " | ".join(f"`{way.policy}` | {_speeds([ratios[way]])}" for way in best)
        pair, noise = ", pair" if config.cluster_size > 1 else "", next(iter(ratios.values())).noise
        print(f"| {workload.name} | {config.block_m}×{config.block_n}{pair} | {cells} | {noise:.3f} |")
        if workload.suite != "dense" or workload.problem.m >= 2048:
            alone.append(ratios[best[0]])
            both.append(min((ratios[way] for way in best), key=lambda each: each.together))
    print(f"\n{len(alone)} of them, dense with M ≥ 2048 or contiguous: {_speeds(alone)}, with both {_speeds(both)}")


def _best(ratios: dict[Making, Ratios], compiler: str | None) -> Making:
    return min((way for way in ratios if way.compiler == compiler), key=lambda way: ratios[way].together)


def _print_all(found: Found, compiler: str | None) -> None:
    print(f"\n{_name(compiler)}\n\n| product | {' | '.join(f'`{policy}`' for policy in POLICIES)} |")
    print(f"| --- |{' --- |' * len(POLICIES)}")
    for (workload, _), ratios in found.items():
        cells = (_speeds([ratios[Making(policy, compiler)]]) for policy in POLICIES)
        print(f"| {workload.name} | {' | '.join(cells)} |")


def _name(compiler: str | None) -> str:
    return compiler or nvrtc.version()


if __name__ == "__main__":
    run()
