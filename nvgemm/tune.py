"""`nvgemm tune`: products in their likely configurations beside each other; the fastest go into a table, one by one."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nvgemm.bench.suites import DENSE
from nvgemm.bench.sweep import Sweep
from nvgemm.choice import checks, tables
from nvgemm.choice.problem import Problem
from nvgemm.commands import as_json
from nvgemm.runtime import driver
from nvgemm.runtime.gemm_kernel import user_table

FIRST_ROUNDS, FINALISTS = 8, 6  # all candidates are timed shortly, and the fastest of them again

Shape = tuple[int, int, int]  # M, N, K


def run(options: argparse.Namespace) -> None:
    """Tune what the options name, and print where the table is."""
    shapes: list[Shape] = [
        *map(_shape, options.shape or ()),
        *_listed(options.shapes),
        *(DENSE if options.suite else ()),
    ]
    if not shapes:
        raise ValueError("tune: name products by --shape M N K, --shapes FILE or --suite")
    path = _path(options)
    products = tune(shapes, path, options.candidates, options.rounds, options.again)
    tuned = list(_told(products, len({tables.key(Problem(*shape, True)) for shape in shapes})))
    print(as_json(tuned) if options.json else path)


def tune(shapes: Sequence[Shape], path: Path, count: int, rounds: int, again: bool = False) -> Iterator[dict[str, Any]]:
    """Measure each product in its `count` likeliest configurations; yields it when the table at `path` has it.

    One that the table has already is passed over, unless `again`: so what was interrupted can be taken up.

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
    of_bucket = {tables.key(Problem(*shape, True)): shape for shape in sorted(shapes)}  # the largest M of each
    for key, shape in of_bucket.items():
        if again or key not in _started(path, device):
            _keep(path, device, {key: _fastest(shape, count, rounds)})
        yield _started(path, device)[key]


def _fastest(shape: Shape, count: int, rounds: int) -> dict[str, Any]:
    sweep = Sweep(*shape)
    finalists = list(sweep.times(sweep.likely(count), FIRST_ROUNDS))[:FINALISTS]
    times = sweep.times(dict.fromkeys([*finalists, sweep.picked]), rounds)
    config, best = next(iter(times.items()))
    return {
        **dict(zip("mnk", shape, strict=True)),
        **{
            name: getattr(config, name) for name in tables.Blocks._fields
        },  # stages, strips and raster follow from these
        "us": round(best.us, 2),
        "before_us": round(times[sweep.picked].us, 2),
    }


def _device() -> dict[str, Any]:
    device = driver.require_hopper(0)
    return {name: getattr(device, name) for name in tables.DEVICE}


def _keep(path: Path, device: dict[str, Any], products: dict[tables.Key, dict[str, Any]]) -> None:
    """Add `products` to the table as it is now: another process may have added some."""
    tables.write(path, device, {**_started(path, device), **products}.values())


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


def _listed(path: Path | None) -> Iterator[Shape]:
    """Products of a file: M, N and K in a line, also as 64x4096x7168; what follows a # is not read."""
    for line in path.read_text(encoding="utf-8").splitlines() if path else ():
        if text := line.partition("#")[0].strip():
            yield _shape(re.split(r"[\s,x×]+", text))


def _shape(words: Sequence[str]) -> Shape:
    if len(words) != 3 or not all(word.isdecimal() for word in words):
        raise ValueError(f"tune: expected M N K, got {' '.join(words)}")
    m, n, k = map(int, words)
    return m, n, k


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
        console.print(_line(product))
        yield product


def _line(product: dict[str, Any]) -> str:
    name, blocks = f"{product['m']}×{product['n']}×{product['k']}", tables.blocks_of(product)
    cluster = f"cluster {blocks.cluster_m}×{blocks.cluster_n}×{blocks.cluster_k}"
    times = [
        f"{product[field]:.2f} µs{when}" for field, when in (("us", ""), ("before_us", " before")) if field in product
    ]
    return (
        f"{name:<20} {blocks.block_m}×{blocks.block_n}, {blocks.num_consumers} consumers, {cluster}: {', '.join(times)}"
    )
