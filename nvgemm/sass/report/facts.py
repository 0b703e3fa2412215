"""What a patch did, as plain data: the promotion runs before and after, why, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nvgemm.sass import PATCHER_VERSION
from nvgemm.sass.control import Instruction, instructions
from nvgemm.sass.cubin import INSTRUCTION_BYTES, Function, functions
from nvgemm.sass.opcodes import as_text
from nvgemm.sass.policy import Policy, parse
from nvgemm.sass.report.disassembler import Operands, operands
from nvgemm.sass.report.reasons import Reasons
from nvgemm.sass.report.statistics import control_counts
from nvgemm.sass.report.timeline import timeline
from nvgemm.sass.runs import Run, runs
from nvgemm.sass.verify import verify


def facts(raw: bytes, patched: bytes, policy: str) -> dict[str, Any]:
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
        ``policy``, ``patcher_version``, ``summary`` (counts of `verify.Summary`), ``hint`` (why operands are missing,
        or None) and ``functions``. A function has ``name``, ``registers``, ``offset`` and ``size`` (bytes),
        ``instructions`` (count), ``ffmas``, ``changed``, ``before`` and ``after`` (counts of its FFMAs as in
        `statistics.control_counts`), and ``runs``. A run has ``ffmas``, ``same_as`` (number of an earlier run with the
        same control words, counted from 1, or None), ``timeline`` (of `timeline.timeline`, ``before`` and
        ``after``) and ``lines``: ``offset`` in the code, ``position`` (None for what is no FFMA of the run),
        ``before``, ``after``, ``reuse`` (slots kept afterwards, a bit each), ``changed``, ``why``, ``text``.

    Raises
    ------
    SassError
        Where `raw` is no cubin for sm_90, or the patch breaks a rule.
    """
    summary = verify(raw, patched, policy)
    texts, hint = operands(raw)
    kernels = [_kernel(raw, patched, kernel, parse(policy), texts) for kernel in functions(raw)]
    return {
        "policy": policy,
        "patcher_version": PATCHER_VERSION,
        "summary": asdict(summary),
        "hint": hint,
        "functions": kernels,
    }


def _kernel(raw: bytes, patched: bytes, kernel: Function, policy: Policy, texts: Operands) -> dict[str, Any]:
    before, after = instructions(raw, kernel), instructions(patched, kernel)
    own = [as_text(instruction) for instruction in before]
    names = [own[i.index] if i.is_ffma else texts.get((kernel.name, i.index), own[i.index]) for i in before]
    return {
        "name": kernel.name,
        "registers": kernel.registers,
        "offset": kernel.offset,
        "size": kernel.size,
        "instructions": len(before),
        "ffmas": sum(i.is_ffma for i in before),
        "changed": sum(b.hi != a.hi for b, a in zip(before, after, strict=True)),
        "before": control_counts([i for i in before if i.is_ffma]),
        "after": control_counts([i for i in after if i.is_ffma]),
        "runs": _runs(before, after, names, Reasons(kernel, before, policy)),
    }


def _runs(
    before: Sequence[Instruction], after: Sequence[Instruction], texts: Sequence[str], reasons: Reasons
) -> list[dict[str, Any]]:
    seen: dict[tuple[Any, ...], int] = {}
    found: list[dict[str, Any]] = []
    for number, run in enumerate(runs(before), 1):
        lines = _lines(run, before, after, texts, reasons)
        pattern = tuple((line["position"], line["before"], line["after"]) for line in lines)
        earlier = seen.setdefault(pattern, number)
        place = slice(run.start, run.stop)
        times = {"before": timeline(before[place]), "after": timeline(after[place])}
        same_as = earlier if earlier != number else None
        found.append({"ffmas": len(run), "same_as": same_as, "timeline": times, "lines": lines})
    return found


def _lines(
    run: Run, before: Sequence[Instruction], after: Sequence[Instruction], texts: Sequence[str], reasons: Reasons
) -> list[dict[str, Any]]:
    positions = {index: position for position, index in enumerate(run.ffmas)}
    lines = []
    for index in range(run.start, run.stop):
        position, control = positions.get(index), after[index].control
        lines.append(
            {
                "offset": INSTRUCTION_BYTES * index,
                "position": position,
                "before": str(before[index].control),
                "after": str(control),
                "reuse": 0 if control.yield_ else control.reuse,
                "changed": before[index].hi != after[index].hi,
                "why": "" if position is None else reasons.why(run, position, control),
                "text": texts[index],
            }
        )
    return lines
