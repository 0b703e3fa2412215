"""The results of a run as a table, for the terminal and for Markdown alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.read_floor import READ_FLOOR
from nvgemm.bench.results import Record, name
from nvgemm.bench.suites import DENSE_SUITES

_OWN = ("nvgemm µs", "spread", "TFLOP/s", "GB/s", "MHz", "share")
_POWER = ("W", "mJ")
_READ = "of read"  # rate of the weights, as a share of that of a kernel that only reads them


def head(run: Record) -> Iterator[str]:
    """Title and head of the table."""
    device, software = run["device"], ", ".join(f"{name} {version}" for name, version in run["software"].items())
    yield f"{run['suite']}, {run['mode']}; {run['date']}, {device['name']}, driver {device['driver']}; {software}"
    for contender, why in run["missing"].items():
        yield f"without {contender}: {why}"
    if run["power"]:
        yield f"without power: {run['power']}"
    yield ""
    power = _POWER if run["mode"] == "sustained" else ()
    read = (_READ,) if _is_read(run) else ()
    columns = [*_sizes(run), *_OWN, *power, *_peers(run), *read, "ratio"]
    yield _row([_padded(title, title) for title in columns])
    yield _row(["-" * max(len(title), _width(title)) for title in columns])


def line(run: Record, shape: Record) -> str:
    """One shape: ours, every peer's µs, and how many times faster than the fastest of the same job we are."""
    ours = shape["times"][OURS]
    rate, traffic = shape["flop"] / ours["us"] * 1e-6, shape["bytes"] / ours["us"] * 1e-3
    sizes = {"M": f"{shape['m']}", "N×K": f"{shape['n']}×{shape['k']}", "shape": name(shape), "rows": f"{shape['m']}"}
    cells = {title: sizes[title] for title in _sizes(run)} | {
        "nvgemm µs": f"{ours['us']:.2f}",
        "spread": f"{ours['spread']:.1%}",
        "TFLOP/s": f"{rate:.0f}",
        "GB/s": f"{traffic:.0f}",
        "MHz": _number(ours["mhz"], ".0f"),
        "share": _number(shape["tensor_share"], ".0%"),
    }
    if run["mode"] == "sustained":
        cells |= {"W": _number(ours["watts"], ".0f"), "mJ": _number(ours["joules"], ".2f", 1e3)}
    for peer in _peers(run):
        cells[peer] = _number(shape["times"].get(peer, {}).get("us"), ".2f")
    if _is_read(run):
        cells[_READ] = _number(shape["read_share"], ".1%")
    cells["ratio"] = _ratio(shape["envelope"]) + ("*" if shape["retimed"] else "")
    return _row([_padded(text, title) for title, text in cells.items()])


def foot(run: Record) -> Iterator[str]:
    """What was timed again, what was refused, and the summary by ranges of rows."""
    yield ""
    again = [
        f"{name(shape)}: {_ratio(shape['envelope'])}, again {_ratio(shape['again'])}"
        for shape in run["shapes"]
        if shape["retimed"]
    ]
    if again:
        yield f"* timed again, because it was slower than the envelope: {'; '.join(again)}"
    for contender, why in run["refused"].items():
        yield f"{contender} refused {len(why)} shapes: {next(iter(why.values()))}"
    for part in run["summary"]:
        lost = f"; lost: {', '.join(part['lost'])}" if part["lost"] else "; none lost"
        yield "{range}: {geomean:.3f} times the envelope (geomean of {shapes}), least {least:.2f}".format(**part) + lost


def _peers(run: Record) -> list[str]:
    return [contender for contender in run["contenders"] if contender != OURS]


def _sizes(run: Record) -> tuple[str, str]:
    """Columns that tell a shape; rows are those of all groups together, without padding."""
    return ("M", "N×K") if run["suite"] in DENSE_SUITES else ("shape", "rows")


def _is_read(run: Record) -> bool:
    return READ_FLOOR.name in run["contenders"]


def _ratio(envelope: Record | None) -> str:
    return _number(envelope["ratio"] if envelope else None, ".2f")


def _number(value: float | None, form: str, factor: float = 1) -> str:
    return "-" if value is None else format(value * factor, form)


def _padded(text: str, title: str) -> str:
    return f"{text:>{max(len(title), _width(title))}}"


def _width(title: str) -> int:
    return {"shape": 30, "M": 5, "N×K": 11, "mJ": 7}.get(title, 7)


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(cells)} |"
