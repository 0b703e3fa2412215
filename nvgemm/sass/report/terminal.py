"""Reports as lines of text for a terminal; plain where colour is not asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nvgemm.sass.report.paint import FACTOR, PREDICATE, REGISTER, RESULT, SCALE, UNIFORM, pieces
from nvgemm.sass.report.statistics import side_by_side
from nvgemm.sass.report.timeline import FREE, ISSUE, OTHER, PORT

_RESET, _BOLD, _DIM, _UNDERLINE = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[4m"
_COLOURS = {
    RESULT: "\x1b[34m",
    FACTOR: "\x1b[32m",
    SCALE: "\x1b[33m",
    REGISTER: "\x1b[36m",
    UNIFORM: "\x1b[35m",
    PREDICATE: "\x1b[35m",
}
CELLS = {ISSUE: "F", OTHER: "o", FREE: "·", PORT: "!"}
_MODEL = "cycles of a warp alone, by the published model, not measured: F FFMA, o other, · given away, ! port taken"


def show(content: Mapping[str, Any], *, full: bool = False, colour: bool = False) -> str:
    """Text of `facts.facts`; changed lines are marked ``*``.

    A run with the control words of an earlier one is named and not shown again, except where `full` is true.
    """
    parts = [f"policy {content['policy']}"]
    parts += [_kernel(kernel, full, colour) for kernel in content["functions"]]
    parts.append(summary(content["summary"]))
    return "\n\n".join(parts + ([content["hint"]] if content["hint"] else []))


def summary(counts: Mapping[str, int]) -> str:
    """The verifier's verdict with the counts of its `Summary`."""
    changed, *kinds = counts.items()
    detail = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds)
    return f"{changed[1]} control words changed: {detail}. All rules of the verifier hold."


def _kernel(kernel: Mapping[str, Any], full: bool, colour: bool) -> str:
    registers = "" if kernel["registers"] is None else f", {kernel['registers']} registers"
    head = f"{kernel['name']}: {kernel['instructions']} instructions{registers}"
    if not kernel["runs"]:
        return f"{head}; no promotion runs, nothing to patch"
    shown = [_run(number, run, full, colour) for number, run in enumerate(kernel["runs"], 1)]
    return "\n\n".join([head, *shown, _counts(kernel)])


def _run(number: int, run: Mapping[str, Any], full: bool, colour: bool) -> str:
    lines = run["lines"]
    others = len(lines) - run["ffmas"]
    mixed = f", {others} other instruction{'s' * (others > 1)} between them" if others else ""
    head = f"run {number}: {run['ffmas']} FFMAs from {lines[0]['offset']:#06x}{mixed}"
    if run["same_as"] and not full:
        return f"{head}; same control words as run {run['same_as']}"
    rows = [f"   {'pos':>4}  {'offset':>6}  {'raw':27}  {'patched':27}  instruction"]
    rows += [_line(line, colour) for line in lines]
    return "\n".join([head, *rows, *_timelines(run["timeline"])])


def _line(line: Mapping[str, Any], colour: bool) -> str:
    place = f"{'' if line['position'] is None else line['position']:>4}  {line['offset']:#06x}"
    mark = "*" if line["changed"] else " "
    after, text = f"{line['after']:27}", line["text"]
    why = f"  ; {line['why']}" if line["why"] else ""
    if colour:
        after = f"{_BOLD}{after}{_RESET}" if line["changed"] else after
        text, why = _painted(text, line["reuse"]), f"{_DIM}{why}{_RESET}" if why else ""
    return f" {mark} {place}  {line['before']:27}  {after}  {text}{why}"


def _painted(text: str, reuse: int) -> str:
    painted = []
    for role, kept, piece in pieces(text, reuse):
        style = (_COLOURS[role] if role else "") + (_UNDERLINE if kept else "")
        painted.append(f"{style}{piece}{_RESET}" if style else piece)
    return "".join(painted)


def _timelines(cells: Mapping[str, Sequence[str]]) -> list[str]:
    rows = []
    for name, title in (("before", "raw"), ("after", "patched")):
        strip = "".join(CELLS[cell] for cell in cells[name])
        rows.append(f"   {title:>7}  {len(strip):3} cycles, {strip.count(CELLS[FREE])} given away  {strip}")
    return [f"   {_MODEL}", *rows]


def _counts(kernel: Mapping[str, Any]) -> str:
    rows: list[tuple[str, Any, Any]] = [
        ("FFMAs", kernel["ffmas"], kernel["ffmas"]),
        *side_by_side(kernel["before"], kernel["after"]),
        ("changed words", "", kernel["changed"]),
    ]
    return "\n".join(f"   {name:13} {old:>7} {new:>7}" for name, old, new in [("", "raw", "patched"), *rows])
