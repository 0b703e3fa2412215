"""Two runs of a suite beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.results import SCHEMA, Record, geomean, name

MOVED = 0.03  # a shape that moved by more is listed


def load(path: Path, suite: str, mode: str) -> Record:
    """A run of this suite and mode that ``nvgemm bench --json`` wrote.

    Raises
    ------
    OSError, ValueError
        The file cannot be read, it is no such run, or one of another suite or mode.
    """
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        _check(run)
    except KeyError as error:
        raise ValueError(f"{path}: no result of `nvgemm bench --json` ({error} is missing)") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: no result of `nvgemm bench --json` ({error})") from None
    for what, expected in (("suite", suite), ("mode", mode)):
        if run[what] != expected:
            raise ValueError(f"{path}: {what} is {run[what]!r}, expected {expected!r} to compare this run with")
    return run


def _check(run: Any) -> None:
    """Refuse what lacks anything that `as_lines` reads."""
    if run["schema"] != SCHEMA:
        raise ValueError(f"schema {run['schema']!r}, expected {SCHEMA}")
    for what in ("suite", "mode", "date"):
        _expect(what, run[what], str)
    _expect("the device's name", run["device"]["name"], str)
    for shape in _expect("shapes", run["shapes"], list):
        for size in "mnk":
            _expect(size, shape[size], int)
        _expect("name", name(shape), str)
        times = _expect(f"times of {name(shape)}", shape["times"], dict)
        for contender in (OURS, *times):
            _positive(f"us of {contender} at {name(shape)}", times[contender]["us"])
        if shape["envelope"] is not None:
            _positive(f"ratio at {name(shape)}", shape["envelope"]["ratio"])


def _expect(what: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{what}: expected {kind.__name__}, got {value!r}")
    return value


def _positive(what: str, value: Any) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{what}: expected a positive number, got {value!r}")


def as_lines(old: Record, new: Record) -> Iterator[str]:
    """How the times of every contender, and our ratio to the envelope, moved: geometric means, then the shapes."""
    pairs = list(_pairs(old, new))
    if not pairs:
        yield "the two runs have no shape in common"
        return
    devices = old["device"]["name"], new["device"]["name"]
    here = "" if devices[0] == devices[1] else f" (this run: {devices[1]})"
    yield f"against {old['date']}, {devices[0]}{here}: {len(pairs)} shapes in common"
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
    width = max(len(name(after)) for _, after in pairs)
    for before, after, change in sorted(ratios, key=lambda row: row[2]):
        if abs(change - 1) > MOVED:
            moved_to = f"{_ratio(before):.2f} → {_ratio(after):.2f}, {_us(before)} → {_us(after)} µs"
            yield f"    {name(after):<{width}} {moved_to}"


def _pairs(old: Record, new: Record) -> Iterator[tuple[Record, Record]]:
    known = {name(shape): shape for shape in old["shapes"]}
    return ((known[name(shape)], shape) for shape in new["shapes"] if name(shape) in known)


def _both(before: Record, after: Record) -> bool:
    return bool(before["envelope"] and after["envelope"])


def _ratio(shape: Record) -> float:
    return float(shape["envelope"]["ratio"])


def _us(shape: Record) -> Any:
    return f"{shape['times'][OURS]['us']:.2f}"
