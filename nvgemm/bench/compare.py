"""Two runs of a suite beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvgemm.bench.peers import OURS
from nvgemm.bench.results import SCHEMA, Record, geomean, name

MOVED = 0.03  # a shape that moved by more is listed


def load(path: Path) -> Record:
    """A run that ``nvgemm bench --json`` wrote.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, or it is no such run.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        if run["schema"] != SCHEMA or not isinstance(run["shapes"], list):
            raise ValueError(f"schema {run['schema']}, expected {SCHEMA}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no result of `nvgemm bench --json` ({error})") from None
    return run


def as_lines(old: Record, new: Record) -> Iterator[str]:
    """How the times of every contender, and our ratio to the envelope, moved: geometric means, then the shapes."""
    pairs = list(_pairs(old, new))
    if not pairs:
        yield "the two runs have no shape in common"
        return
    yield f"against {old['date']}, {old['device']['name']}: {len(pairs)} shapes in common"
    for contender in new["contenders"]:
        moved = [
            before["times"][contender]["us"] / after["times"][contender]["us"]
            for before, after in pairs
            if contender in before["times"] and contender in after["times"]
        ]
        if moved:
            yield f"  {contender:<18} {geomean(moved):.3f} times as fast, geomean of {len(moved)}"
    ratios = [(before, after, _ratio(after) / _ratio(before)) for before, after in pairs if _both(before, after)]
    if ratios:
        yield f"  {'speed-up':<18} {geomean(change for *_, change in ratios):.3f} times what it was, geomean"
    for before, after, change in sorted(ratios, key=lambda row: row[2]):
        if abs(change - 1) > MOVED:
            yield f"    {name(after):<18} {_ratio(before):.2f} → {_ratio(after):.2f}, {_us(before)} → {_us(after)} µs"


def _pairs(old: Record, new: Record) -> Iterator[tuple[Record, Record]]:
    known = {name(shape): shape for shape in old["shapes"]}
    return ((known[name(shape)], shape) for shape in new["shapes"] if name(shape) in known)


def _both(before: Record, after: Record) -> bool:
    return bool(before["envelope"] and after["envelope"])


def _ratio(shape: Record) -> float:
    return float(shape["envelope"]["ratio"])


def _us(shape: Record) -> Any:
    return f"{shape['times'][OURS]['us']:.2f}"
