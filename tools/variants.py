"""Changed copies of the kernels beside ``kernels_cu``: ``python tools/variants.py --help``; needs torch and a GPU."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm import settings
from nvgemm.bench import libraries, suites
from nvgemm.bench.building import build_all
from nvgemm.bench.cold import Flush, measure
from nvgemm.bench.results import geomean
from nvgemm.bench.workload import Workload, launcher, result
from nvgemm.choice.config import GemmConfig
from nvgemm.runtime import driver, specialize
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.device_model import model
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.kernel import load
from nvgemm.runtime.making import Making, choose
from nvgemm.runtime.sources import kernels_dir

TOLERANCE = 5e-3  # of the norm, as sums in another order differ
Made = tuple[GemmConfig, Making]


def run(folders: list[Path], workloads: list[Workload], rounds: int) -> None:
    """A row for each product: µs of the first folder's kernel, and how much faster the others' are; all alternate."""
    device, torch = driver.require_hopper(0), libraries.torch()
    made = {workload: choose(workload.problem, settings.sass, model(device)) for workload in workloads}
    cubins = {folder: _built(folder, made.values()) for folder in folders}
    flush, rows = Flush(torch), []
    print(f"| product | µs | {' | '.join(map(str, folders[1:]))} |\n| --- |{' --- |' * len(folders)}")
    for workload in workloads:
        kernels = {folder: _loaded(cubins[folder][made[workload]], *made[workload], device) for folder in folders}
        us = _times(torch, flush, workload.operands(torch), kernels, rounds)
        own = us.pop(folders[0])
        rows.append([own / other for other in us.values()])
        print(f"| {workload.name} | {own:.2f} | {_percent(rows[-1])} |", flush=True)
    print(f"| geometric mean | | {_percent(map(geomean, zip(*rows, strict=True)))} |")


def _built(folder: Path, wanted: Iterable[Made]) -> dict[Made, Cubin]:
    """The kernels of `folder`; what the compiler complains of is told."""
    specialize.kernels_dir = lambda: folder
    try:
        cubins = build_all(wanted)
    finally:
        specialize.kernels_dir = kernels_dir
    for (config, _), cubin in cubins.items():
        if cubin.meta["complaints"] or cubin.meta["spilled_bytes"]:
            print(f"{folder}: {cubin.meta['spilled_bytes']} bytes spilled, {cubin.meta['complaints']}: {config}")
    return cubins


def _loaded(cubin: Cubin, config: GemmConfig, made: Making, device: driver.Device) -> GemmKernel:
    kernel = GemmKernel(config, made, device)
    kernel.kernel = load(cubin, device.ordinal, config.shared_bytes)
    return kernel


def _times(torch: Any, flush: Flush, operands: Any, kernels: dict[Path, GemmKernel], rounds: int) -> dict[Path, float]:
    """µs of each folder's kernel, its result checked against the first's."""
    runs = {folder: launcher(torch, kernel, operands) for folder, kernel in kernels.items()}
    results = {folder: result(operands, run).float() for folder, run in runs.items()}
    expected = next(iter(results.values()))
    for folder, found in results.items():
        if not (found - expected).norm() <= TOLERANCE * expected.norm():
            raise RuntimeError(f"{folder} has another result than {next(iter(results))} at {operands.name}")
    return {folder: times.us for folder, times in measure(torch, flush, runs, rounds).items()}


def _percent(speeds: Iterable[float]) -> str:
    return " | ".join(f"{100 * (speed - 1):+.1f} %" for speed in speeds)


def _parsed() -> tuple[list[Path], list[Workload], int]:
    parser = argparse.ArgumentParser(description="Cold times of products with other copies of kernels_cu beside it.")
    parser.add_argument("folders", nargs="+", type=Path, help="copies of kernels_cu with something changed")
    parser.add_argument("--suite", default="dense", choices=(*suites.TUNED_SUITES, "others"))
    parser.add_argument("--shape", nargs="+", action="append", help="M N K, or groups; default: the whole suite")
    parser.add_argument("--rounds", type=int, default=16)
    options = parser.parse_args()
    if absent := [str(folder) for folder in options.folders if not (folder / "fp8_gemm.cu").is_file()]:
        parser.error(f"no copy of kernels_cu: {', '.join(absent)}")
    try:
        named = [Workload.parse(options.suite, words) for words in options.shape or ()]
    except ValueError as error:
        parser.error(str(error))
    workloads = named or [Workload(options.suite, shape) for shape in suites.SUITES[options.suite].shapes]
    return [kernels_dir(), *options.folders], workloads, options.rounds


if __name__ == "__main__":
    run(*_parsed())
