"""What each subcommand of ``nvgemm`` does: the facts first, then as JSON or as text."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvgemm.runtime.build import Cubin

FILE_POLICY = "s2e2"  # for a cubin of which nothing is known; our own kernels have theirs by their blocks


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
    from nvgemm.gemm import build_dense

    how = {"pdl": options.pdl or options.weights_static, "weights_static": options.weights_static}
    cubin = build_dense(*options.dense, num_sms=options.num_sms, policy=options.policy, **how)
    if options.emit is not None:
        emit(cubin, options.emit)
    if options.json:
        print(as_json({"path": path_of(cubin), "emitted": options.emit and str(options.emit), **cubin.meta}))
    else:
        print(options.emit or cubin.path or f"{cubin.symbol}: {len(cubin.image)} bytes, in memory only")


def path_of(cubin: Cubin) -> str | None:
    """Folder of its cache entry; None when it is kept in memory only."""
    return str(cubin.path) if cubin.path else None


def emit(cubin: Cubin, folder: Path) -> None:
    """Write a kernel as a folder that compiles by itself, with the cubin that nvgemm made of it beside the sources."""
    files = {**cubin.files, "kernel.cubin": cubin.image, "kernel.raw.cubin": cubin.raw}
    for name, content in {**files, "meta.json": as_json(cubin.meta).encode()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def sass(options: argparse.Namespace) -> None:
    """Control words before and after a policy."""
    from nvgemm.sass import report

    raw, patched, policy = _before_and_after(options)
    if options.json:
        print(as_json(report.as_json(raw, patched, policy)))
    else:
        print(report.as_text(raw, patched, policy, full=options.full))


def _before_and_after(options: argparse.Namespace) -> tuple[bytes, bytes, str]:
    from nvgemm.sass.policy import apply

    if options.dense is not None:
        from nvgemm.gemm import build_dense

        cubin = build_dense(*options.dense, num_sms=options.num_sms, policy=options.policy)
        return cubin.raw, cubin.image, cubin.meta["policy"]
    if options.path.is_dir() and options.policy is None:
        policy = json.loads((options.path / "meta.json").read_bytes())["policy"]
        return (options.path / "kernel.raw.cubin").read_bytes(), (options.path / "kernel.cubin").read_bytes(), policy
    raw = (options.path / "kernel.raw.cubin" if options.path.is_dir() else options.path).read_bytes()
    policy = options.policy or FILE_POLICY
    return raw, apply(raw, policy), policy


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
