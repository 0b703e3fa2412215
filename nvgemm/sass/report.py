"""What a patch did, for people (`as_text`) and programs (`as_json`): promotion runs before and after, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nvgemm.sass import PATCHER_VERSION
from nvgemm.sass.control import Instruction, instructions
from nvgemm.sass.cubin import INSTRUCTION_BYTES, functions
from nvgemm.sass.opcodes import as_text as instruction_text
from nvgemm.sass.runs import Run, runs
from nvgemm.sass.verify import verify


def as_json(raw: bytes, patched: bytes, policy: str) -> dict[str, Any]:
    """Promotion runs and counts of a patched cubin, once verified.

    Parameters
    ----------
    raw, patched : bytes
        The compiler's cubin and the patched one.
    policy : str
        Name of the policy that made `patched`; shown, and used by the verifier.

    Returns
    -------
    dict
        ``policy``, ``patcher_version``, ``summary`` (counts of `verify.Summary`) and ``functions``. A function has
        ``name``, ``registers``, ``offset`` and ``size`` (bytes), ``instructions`` (count), ``ffmas``, ``changed``,
        ``before`` and ``after`` (``yields``, ``reuse``, and ``stalls``, FFMAs by stall), and ``runs``. A run has
        ``ffmas``, ``same_as`` (number of an earlier run with the same control words, counted from 1, or None) and
        ``lines``: ``offset`` in the code, ``position`` (None for what is no FFMA of the run), ``before``, ``after``,
        ``changed``, ``text``.

    Raises
    ------
    SassError
        Where `raw` is no cubin for sm_90, or the patch breaks a rule.
    """
    summary = verify(raw, patched, policy)
    kernels = []
    for kernel in functions(raw):
        before, after = instructions(raw, kernel), instructions(patched, kernel)
        kernels.append(
            {
                "name": kernel.name,
                "registers": kernel.registers,
                "offset": kernel.offset,
                "size": kernel.size,
                "instructions": len(before),
                "ffmas": sum(i.is_ffma for i in before),
                "changed": sum(b.hi != a.hi for b, a in zip(before, after, strict=True)),
                "before": _counts(before),
                "after": _counts(after),
                "runs": _runs(before, after),
            }
        )
    return {"policy": policy, "patcher_version": PATCHER_VERSION, "summary": asdict(summary), "functions": kernels}


def _counts(program: Sequence[Instruction]) -> dict[str, Any]:
    controls = [instruction.control for instruction in program if instruction.is_ffma]
    stalls = Counter(control.stall for control in controls)
    return {
        "yields": sum(control.yield_ for control in controls),
        "reuse": sum(control.reuse.bit_count() for control in controls if not control.yield_),
        "stalls": {str(stall): stalls[stall] for stall in sorted(stalls)},
    }


def _runs(before: Sequence[Instruction], after: Sequence[Instruction]) -> list[dict[str, Any]]:
    seen: dict[tuple[Any, ...], int] = {}
    found: list[dict[str, Any]] = []
    for number, run in enumerate(runs(before), 1):
        lines = _lines(run, before, after)
        pattern = tuple((line["position"], line["before"], line["after"]) for line in lines)
        earlier = seen.setdefault(pattern, number)
        found.append({"ffmas": len(run), "same_as": earlier if earlier != number else None, "lines": lines})
    return found


def _lines(run: Run, before: Sequence[Instruction], after: Sequence[Instruction]) -> list[dict[str, Any]]:
    positions = {index: position for position, index in enumerate(run.ffmas)}
    return [
        {
            "offset": INSTRUCTION_BYTES * index,
            "position": positions.get(index),
            "before": str(before[index].control),
            "after": str(after[index].control),
            "changed": before[index].hi != after[index].hi,
            "text": instruction_text(before[index]),
        }
        for index in range(run.start, run.stop)
    ]


def as_text(raw: bytes, patched: bytes, policy: str, full: bool = False) -> str:
    """The same as `as_json`, laid out for a terminal; changed lines are marked ``*``.

    A run with the control words of an earlier one is named and not shown again, except where `full` is true.
    """
    content = as_json(raw, patched, policy)
    parts = [f"policy {policy}"]
    for kernel in content["functions"]:
        parts.append(_function_text(kernel, full))
    changed, *kinds = content["summary"].items()
    counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds)
    parts.append(f"{changed[1]} control words changed: {counts}. All rules of the verifier hold.")
    return "\n\n".join(parts)


def _function_text(kernel: dict[str, Any], full: bool) -> str:
    registers = "" if kernel["registers"] is None else f", {kernel['registers']} registers"
    head = f"{kernel['name']}: {kernel['instructions']} instructions{registers}"
    if not kernel["runs"]:
        return f"{head}; no promotion runs, nothing to patch"
    shown = [_run_text(number, run, full) for number, run in enumerate(kernel["runs"], 1)]
    return "\n\n".join([head, *shown, _counts_text(kernel)])


def _run_text(number: int, run: dict[str, Any], full: bool) -> str:
    lines = run["lines"]
    others = len(lines) - run["ffmas"]
    mixed = f", {others} other instruction{'s' * (others > 1)} between them" if others else ""
    head = f"run {number}: {run['ffmas']} FFMAs from {lines[0]['offset']:#06x}{mixed}"
    if run["same_as"] and not full:
        return f"{head}; same control words as run {run['same_as']}"
    rows = [f"   {'pos':>4}  {'offset':>6}  {'before':27}  {'after':27}  instruction"]
    for line in lines:
        place = f"{'' if line['position'] is None else line['position']:>4}  {line['offset']:#06x}"
        mark = "*" if line["changed"] else " "
        rows.append(f" {mark} {place}  {line['before']:27}  {line['after']:27}  {line['text']}")
    return "\n".join([head, *rows])


def _counts_text(kernel: dict[str, Any]) -> str:
    before, after = kernel["before"], kernel["after"]
    stalls = sorted({*before["stalls"], *after["stalls"]}, key=int)
    rows = [
        ("FFMAs", kernel["ffmas"], kernel["ffmas"]),
        ("yields", before["yields"], after["yields"]),
        ("reuse flags", before["reuse"], after["reuse"]),
        *((f"stall {stall}", before["stalls"].get(stall, 0), after["stalls"].get(stall, 0)) for stall in stalls),
        ("changed words", "", kernel["changed"]),
    ]
    lines = [f"   {name:13} {old:>7} {new:>7}" for name, old, new in [("", "before", "after"), *rows]]
    return "\n".join(lines)
