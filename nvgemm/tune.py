"""`nvgemm tune`: products in their likely configurations beside each other; the fastest go into a table, one by one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nvgemm.bench import policies
from nvgemm.bench.shapes import DenseShape
from nvgemm.bench.suites import DENSE
from nvgemm.bench.sweep import Sweep
from nvgemm.choice import checks, tables
from nvgemm.choice.completion import blocks_in, rasters, refinements
from nvgemm.choice.problem import Problem
from nvgemm.commands import as_json
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import user_table

FIRST_ROUNDS, FINALISTS = 8, 6  # all candidates are timed shortly, and the fastest of them again


def run(options: argparse.Namespace) -> None:
    """Tune what the options name, and print where the table is."""
    given: list[DenseShape] = [*map(_shape, options.shape or ()), *_listed(options.shapes)]
    shapes = _largest([*given, *DENSE] if options.suite else given)
    if not shapes:
        raise ValueError("tune: name products by --shape M N K, --shapes FILE or --suite")
    path = _path(options)
    products = tune(shapes, path, options.candidates, options.rounds, options.again, options.sass)
    tuned = list(_told(products, len(shapes)))
    print(as_json(tuned) if options.json else path)


def tune(
    shapes: Sequence[DenseShape], path: Path, count: int, rounds: int, again: bool = False, sass: bool = False
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
    for shape in shapes:
        checks.sizes(*shape)
    device = _device()
    with _fresh_process() if sass else nullcontext() as fresh:
        for shape in shapes:
            product = _started(path, device).get(_key(shape))
            if again or product is None:
                product = _kept(path, device, _fastest(shape, count, rounds))
            if fresh is not None and (again or "policy" not in product):
                product = _kept(path, device, {**product, **_policy(shape, product, rounds, fresh)})
            yield product


def _kept(path: Path, device: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
    """`product`, once the table has it beside what another process may have added meanwhile."""
    products = {**_started(path, device), tables.key_of(product): product}
    tables.write(path, device, products.values())
    return product


def _fresh_process() -> AbstractContextManager[ProcessPoolExecutor]:
    """One in which nothing of this one is loaded."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _policy(shape: DenseShape, product: dict[str, Any], rounds: int, fresh: ProcessPoolExecutor) -> dict[str, Any]:
    """The policy that is faster than the compiler's bits here and in another process, or ``asis``; with its ratios."""
    blocks = tables.blocks_of(product)
    policy, ratios = policies.search(shape, blocks, rounds)
    if policy != policies.ASIS:
        ratios = fresh.submit(policies.confirm, shape, blocks, policy, rounds).result()
        policy = policy if ratios.wins else policies.ASIS
    return {"policy": policy, **{f"policy_{name}": round(ratio, 4) for name, ratio in ratios._asdict().items()}}


def _largest(shapes: Sequence[DenseShape]) -> list[DenseShape]:
    """Of those that share an entry the one with the most rows."""
    return list({_key(shape): shape for shape in sorted(shapes)}.values())


def _key(shape: DenseShape) -> tables.Key:
    return tables.key(Problem(shape.m, shape.n, shape.k, True))


def _fastest(shape: DenseShape, count: int, rounds: int) -> dict[str, Any]:
    sweep = Sweep(*shape)
    finalists = list(sweep.times(sweep.likely(count), FIRST_ROUNDS))[:FINALISTS]
    times = sweep.times(dict.fromkeys([*finalists, sweep.picked]), rounds)
    in_best_raster = next(iter(sweep.times(rasters(sweep.problem, next(iter(times))), rounds)))
    refined = sweep.times(refinements(sweep.problem, sweep.model, in_best_raster), rounds)
    config, best = next(iter(refined.items()))
    blocks = blocks_in(config)._asdict()
    return {**shape._asdict(), **blocks, "us": round(best.us, 2), "before_us": round(times[sweep.picked].us, 2)}


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


def _listed(path: Path | None) -> Iterator[DenseShape]:
    """Products of a file: M, N and K in a line, also as 64x4096x7168; what follows a # is not read."""
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
        if text := line.partition("#")[0].strip():
            yield _shape(re.split(r"[\s,x×]+", text))


def _shape(words: Sequence[str]) -> DenseShape:
    return DenseShape.parse(words, "tune: expected M N K")


def _told(products: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """A bar and a line for each product, on stderr."""
    try:
        from rich.console import Console
        from rich.progress import track
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "rich is not installed, which shows the progress: pip install 'nvgemm[tools]'"
        ) from error
    console = Console(stderr=True, highlight=False)
    for product in track(products, "tuning", count, console=console, transient=True):
        console.print(_line(product), soft_wrap=True)
        yield product


def _line(product: dict[str, Any]) -> str:
    name, blocks = f"{product['m']}×{product['n']}×{product['k']}", tables.blocks_of(product)
    cluster = f"cluster {blocks.cluster_m}×{blocks.cluster_n}×{blocks.cluster_k}"
    times = [
        f"{product[field]:.2f} µs{when}" for field, when in (("us", ""), ("before_us", " before")) if field in product
    ]
    tiles = f"{blocks.block_m}×{blocks.block_n}, {blocks.num_consumers} consumers"
    policy = f", policy {product['policy']}" if "policy" in product else ""
    return f"{name:<20} {tiles}, {cluster}: {', '.join(times)}{policy}"
