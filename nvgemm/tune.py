"""`nvgemm tune`: products in their likely configurations beside each other; the fastest go into a table, one by one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nvgemm.bench import policies, suites
from nvgemm.bench.cold import Times
from nvgemm.bench.sweep import Sweep
from nvgemm.bench.workload import Workload
from nvgemm.choice import checks, tables
from nvgemm.choice.completion import blocks_in, rasters, refinements
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.commands import as_json
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import user_table
from nvgemm.tune_progress import told

FIRST_ROUNDS, FINALISTS = 8, 6  # all candidates are timed shortly, and the fastest of them again
LEVEL = 1.005  # times as long, and not told from the fastest: then the shorter round of the loop compiles sooner


def run(options: argparse.Namespace) -> None:
    """Tune what the options name, and print where the table is."""
    workloads = _largest(_named(options))
    path = _path(options)
    products = tune(workloads, path, options.candidates, options.rounds, options.again, options.sass)
    tuned = list(told(products, len(workloads)))
    print(as_json(tuned) if options.json else path)


def tune(
    workloads: Sequence[Workload], path: Path, count: int, rounds: int, again: bool = False, sass: bool = False
) -> Iterator[dict[str, Any]]:
    """Measure each product in its `count` likeliest configurations; yields it when the table at `path` has it.

    With `sass`, then in the fastest of these under many policies of the control bits. What the table has already is
    passed over, unless `again`: so what was interrupted can be taken up.

    Raises
    ------
    ValueError
        The table is of another kind of device, or a product is none that a kernel is built for.
    UnsupportedDeviceError, ModuleNotFoundError
        Device 0 is no Hopper GPU, or torch is absent.
    """
    for workload in workloads:
        checks.sizes(workload.problem.m, workload.problem.n, workload.problem.k)
    device = _device()
    with _fresh_process() if sass else nullcontext() as fresh:
        for workload in workloads:
            product = _started(path, device).get(tables.key(workload.problem))
            if again or product is None:
                product = _kept(path, device, _fastest(workload, count, rounds))
            if fresh is not None and (again or "policy" not in product):
                product = _kept(path, device, {**product, **_policy(workload, product, rounds, fresh)})
            yield product


def _kept(path: Path, device: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
    """`product`, once the table has it beside what another process may have added meanwhile."""
    products = {**_started(path, device), tables.key_of(product): product}
    tables.write(path, device, products.values())
    return product


def _fresh_process() -> AbstractContextManager[ProcessPoolExecutor]:
    """One in which nothing of this one is loaded."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _policy(workload: Workload, product: dict[str, Any], rounds: int, fresh: ProcessPoolExecutor) -> dict[str, Any]:
    """The policy and compiler that win over the newest compiler's bits here and in another process, and by how much."""
    blocks = tables.blocks_of(product)
    made, ratios = policies.search(workload, blocks, rounds)
    if made != policies.ASIS:
        ratios = fresh.submit(policies.confirm, workload, blocks, made, rounds).result()
        if not ratios.wins:
            made, ratios = policies.ASIS, policies.Ratios(1.0, 1.0, ratios.noise)
    found = {"policy": made.policy, **({"compiler": made.compiler} if made.compiler else {})}
    return {**found, **{f"policy_{name}": round(ratio, 4) for name, ratio in ratios._asdict().items()}}


def _largest(workloads: Sequence[Workload]) -> list[Workload]:
    """Of those that share an entry the one with the most rows."""
    ordered = sorted(workloads, key=lambda workload: workload.problem.m)
    return list({tables.key(workload.problem): workload for workload in ordered}.values())


def _fastest(workload: Workload, count: int, rounds: int) -> dict[str, Any]:
    sweep = Sweep(workload)
    finalists = list(sweep.times(sweep.likely(count), FIRST_ROUNDS))[:FINALISTS]
    times = sweep.times(dict.fromkeys([*finalists, sweep.picked]), rounds)
    in_best_raster = next(iter(sweep.times(rasters(sweep.problem, _best(times)), rounds)))
    refined = sweep.times(refinements(sweep.problem, sweep.model, in_best_raster), rounds)
    config = _best(refined)
    measured = {"us": round(refined[config].us, 2), "before_us": round(times[sweep.picked].us, 2)}
    return {**_sizes(sweep.problem), **blocks_in(config)._asdict(), **measured}


def _best(times: Mapping[GemmConfig, Times]) -> GemmConfig:
    """The fastest, or what is level with it and has a shorter round."""
    level = LEVEL * min(of.us for of in times.values())
    found = [config for config in times if times[config].us <= level]
    return min(found, key=lambda config: (config.k_unroll, times[config].us))


def _sizes(problem: Problem) -> dict[str, Any]:
    """What a table tells products by."""
    sizes = {"m": problem.group_rows, "n": problem.n, "k": problem.k}
    if problem.grouping is Grouping.DENSE:
        return sizes
    return {"grouping": problem.grouping.name.lower(), "groups": problem.groups, **sizes}


def _device() -> dict[str, Any]:
    device = driver.require_hopper(0)
    return {name: getattr(device, name) for name in tables.DEVICE}


def _started(path: Path, device: dict[str, Any]) -> dict[tables.Key, dict[str, Any]]:
    """Products of the table at `path`, if there is one."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        is_alike, name = tables.is_alike(content["device"], device), content["device"]["name"]
        products = {tables.key_of(product): product for product in content["products"]}
        for product in products.values():
            tables.blocks_of(product)
    except tables.NO_TABLE as error:
        raise ValueError(f"--out: {path} is no table of nvgemm tune ({type(error).__name__}: {error})") from error
    if not is_alike:
        raise ValueError(f"--out: {path} was measured on another device, {name}; NVGEMM_CACHE_DIR names another folder")
    return products


def _path(options: argparse.Namespace) -> Path:
    path = options.out or user_table()
    if path is None:
        raise ValueError("--out: there is no cache folder; name a file")
    return Path(path)


def _named(options: argparse.Namespace) -> list[Workload]:
    """The products that are named one by one, else all of the suite."""
    suite, words = options.suite or "dense", [*(options.shape or ()), *_listed(options.shapes)]
    if options.shapes and not words:
        raise ValueError(f"--shapes: {options.shapes} names no product")
    if words:
        return [Workload.parse(suite, each) for each in words]
    if options.suite is None:
        raise ValueError("tune: name products by --shape M N K, --shapes FILE or --suite")
    return [Workload(suite, shape) for shape in suites.SUITES[suite].shapes]


def _listed(path: Path | None) -> Iterator[list[str]]:
    """Products of a file, one in a line: M, N and K, also as 64x4096x7168, or groups; what follows a # is not read."""
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
        if text := line.partition("#")[0].strip():
            yield [text] if text.startswith("g") else re.split(r"[\s,x×]+", text)
