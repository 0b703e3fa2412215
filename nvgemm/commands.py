"""What each subcommand of ``nvgemm`` does: the facts first, then as JSON or as text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvgemm.runtime.build import Cubin


def info(options: argparse.Namespace) -> None:
    """Versions, devices, cache and settings."""
    from nvgemm import info

    facts = info.collect()
    print(as_json(facts) if options.json else info.as_text(facts))


def explain(options: argparse.Namespace) -> None:
    """What the choice of a kernel weighs."""
    from nvgemm import explain

    facts = explain.weigh(options.m, options.n, options.k, options.num_sms)
    print(as_json(facts) if options.json else explain.as_text(facts))


def compile(options: argparse.Namespace) -> None:
    """Build one kernel, and write it to a folder where that is asked for."""
    cubin = built(options, pdl=options.pdl or options.weights_static, weights_static=options.weights_static)
    if options.emit is not None:
        emit(cubin, options.emit)
    if options.json:
        print(as_json({"path": path_of(cubin), "emitted": options.emit and str(options.emit), **cubin.meta}))
    else:
        print(options.emit or cubin.path or f"{cubin.symbol}: {len(cubin.image)} bytes, in memory only")


def built(options: argparse.Namespace, **how: Any) -> Cubin:
    """The kernel that ``--dense`` or ``--grouped`` asks for."""
    from nvgemm.ahead import build_dense, build_grouped

    how |= {"num_sms": options.num_sms, "policy": options.policy}
    if options.dense is not None:
        if options.expected_m is not None:
            raise ValueError(f"--expected-m: {options.expected_m} rows of a group, and --dense has no groups")
        return build_dense(*options.dense, **how)
    layout, *sizes = options.grouped
    try:
        groups, m, n, k = map(int, sizes)
    except ValueError:
        raise ValueError(f"--grouped: expected numbers for G, M, N and K, got {' '.join(sizes)}") from None
    return build_grouped(layout, groups, m, n, k, expected_m=options.expected_m, **how)


def path_of(cubin: Cubin) -> str | None:
    """Folder of its cache entry; None when it is kept in memory only."""
    return str(cubin.path) if cubin.path else None


def emit(cubin: Cubin, folder: Path) -> None:
    """Write a kernel as a folder that compiles by itself, with the cubin that nvgemm made of it beside the sources."""
    files = {**cubin.files, "kernel.cubin": cubin.image, "kernel.raw.cubin": cubin.raw}
    for name, content in {**files, "meta.json": as_json(cubin.meta).encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def demo(options: argparse.Namespace) -> None:
    """A transformer layer's products."""
    from nvgemm import demo

    machine = demo.machine()
    if options.json:
        print(as_json({**machine, "products": list(demo.products(machine))}))
        return
    print(demo.machine_text(machine))
    for facts in demo.products(machine):
        print(demo.product_text(facts), flush=True)


def bench(options: argparse.Namespace) -> None:
    """Kernel times of a suite beside other libraries."""
    from nvgemm.bench import command

    command.run(options)


def latency(options: argparse.Namespace) -> None:
    """Host times of calls."""
    from nvgemm.bench import latency

    facts = latency.collect()
    print(as_json(facts) if options.json else latency.as_text(facts))


def tune(options: argparse.Namespace) -> None:
    """Configurations found by measurement."""
    from nvgemm import tune

    tune.run(options)


def as_json(facts: Any) -> str:
    """As every ``--json`` writes it."""
    return json.dumps(facts, indent=2, ensure_ascii=False)
