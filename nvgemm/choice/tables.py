"""Measured blocks: tables that `nvgemm tune` writes, those shipped in ``nvgemm/tuned`` and a user's own.

A table is JSON: ``device`` (`DEVICE`), and ``products``, each with M, N and K, ``grouping`` and ``groups`` unless it is
dense, `Blocks`, and, where they were searched, the ``policy`` of the control bits and, unless it is the newest, the
``compiler`` that it belongs to. The times measured are for people.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from nvgemm.choice.problem import Grouping, Problem, align, ceil_div

SHIPPED = Path(__file__).resolve().parents[1] / "tuned"
H100 = str(SHIPPED / "h100.json")

DEVICE = ("name", "num_sms", "clock_khz", "memory_bandwidth")  # what a table tells of its device

NO_TABLE = ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError  # what reading one may raise

NEAR = 1.3  # times as many rows, or as few; the last wave matters little where tiles are `FULL_WAVES` and more
FULL_WAVES = 6

Key = tuple[str, int, int, int, int]  # grouping, groups, M as `bucket` gives it, N, K


class Blocks(NamedTuple):
    """The part of a `GemmConfig` that is searched; what is None is as `complete` finds it."""

    block_m: int
    block_n: int
    num_consumers: int
    k_split: int
    cluster_m: int
    cluster_n: int
    k_unroll: int | None = None
    cluster_k: int = 1
    in_flight: int | None = None
    raster_m: int | None = None
    num_d_strips: int | None = None


class Measured(NamedTuple):
    """What a table has of a product.

    Attributes
    ----------
    m : int
        Rows that it was measured with, as `bucket` gives them.
    policy : str or None
        Of the control bits, where it was searched.
    compiler : str or None
        Version of NVRTC that the policy was found with, where it is not the newest.
    """

    m: int
    blocks: Blocks
    policy: str | None = None
    compiler: str | None = None


class Table(NamedTuple):
    """One file."""

    device: Mapping[str, Any]
    products: Mapping[Key, Measured]


def lookup(problem: Problem, paths: Iterable[str], num_sms: int) -> Measured | None:
    """What the first of these tables has of `problem` that has it and was measured on as many SMs, or None.

    Where none has it, that of the nearest number of rows in any of them, if that is `NEAR` and tiles are many.
    """
    wanted = key(problem)
    read_ones = (table for table in map(read, paths) if table)
    tables = [table.products for table in read_ones if table.device["num_sms"] == num_sms]
    exact = next((products[wanted] for products in tables if wanted in products), None)
    near = chain.from_iterable(_near(wanted, products, num_sms) for products in tables)
    return exact or min(near, key=lambda found: _apart(found.m, wanted), default=None)


def _near(wanted: Key, products: Mapping[Key, Measured], num_sms: int) -> Iterator[Measured]:
    """Those of `products` that differ from this one in rows alone, and little."""
    grouping, groups, m, n, k = wanted
    for other, found in products.items():
        is_alike = (*other[:2], *other[3:]) == (grouping, groups, n, k)
        if is_alike and _apart(found.m, wanted) <= math.log(NEAR):
            tiles = groups * ceil_div(m, found.blocks.block_m) * ceil_div(n, found.blocks.block_n)
            if tiles >= FULL_WAVES * num_sms:
                yield found


def _apart(m: int, wanted: Key) -> float:
    return abs(math.log(m / wanted[2]))


def key(problem: Problem) -> Key:
    """What a table tells products by."""
    return problem.grouping.name.lower(), problem.groups, bucket(problem.group_rows), problem.n, problem.k


def bucket(m: int) -> int:
    """Largest M with the same tiles as `m`, so with the same best blocks; a few rows are not like many."""
    return 16 if m <= 16 else align(m, 64)


def nearest(num_sms: int, clock_khz: int, memory_bandwidth: int) -> str | None:
    """The shipped table of the device most like this one, among those with as many SMs; None where there is none."""

    def distance(path: str) -> float:
        device = table(path).device
        clocks = device["clock_khz"] / max(clock_khz, 1)  # a driver that does not tell says 0
        return abs(math.log(clocks)) + abs(math.log(device["memory_bandwidth"] / max(memory_bandwidth, 1)))

    alike = [path for path in map(str, sorted(SHIPPED.glob("*.json"))) if table(path).device["num_sms"] == num_sms]
    return min(alike, key=distance, default=None)


def is_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether what is measured on the one device holds on the other, whatever their names."""
    return all(one[name] == other[name] for name in DEVICE if name != "name")


def read(path: str) -> Table | None:
    """The table at `path`; None where there is none, or, with a warning, where it is not one."""
    try:
        return table(path)
    except FileNotFoundError:
        return None
    except (OSError, *NO_TABLE) as error:
        warnings.warn(f"{path} is ignored: no table of nvgemm tune ({type(error).__name__}: {error})", stacklevel=2)
        return None


def table(path: str) -> Table:
    """The table at `path`, read again when the file has changed."""
    return _table(path, os.stat(path).st_mtime_ns)


@lru_cache(maxsize=16)
def _table(path: str, changed: int) -> Table:
    content = json.loads(Path(path).read_bytes())
    device = {name: content["device"][name] for name in DEVICE}
    return Table(device, {key_of(product): _measured(product) for product in content["products"]})


def _measured(product: Mapping[str, Any]) -> Measured:
    texts = {name: str(product[name]) for name in ("policy", "compiler") if product.get(name) is not None}
    return Measured(key_of(product)[2], blocks_of(product), **texts)


def key_of(product: Mapping[str, Any]) -> Key:
    """The same of a product in a table."""
    grouping = Grouping[product.get("grouping", "dense").upper()].name.lower()
    return grouping, product.get("groups", 1), bucket(product["m"]), product["n"], product["k"]


def blocks_of(product: Mapping[str, Any]) -> Blocks:
    """The blocks of a product in a table."""
    return Blocks(**{name: int(product[name]) for name in Blocks._fields if product.get(name) is not None})


def write(path: Path, device: Mapping[str, Any], products: Iterable[Mapping[str, Any]]) -> None:
    """Publish a table at once, one product a line."""
    lines = ",\n".join(f"    {json.dumps(product)}" for product in products)
    text = f'{{\n  "device": {json.dumps(device)},\n  "products": [\n{lines}\n  ]\n}}\n'
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(text)
    os.replace(unfinished, path)
