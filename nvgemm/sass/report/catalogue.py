"""What each policy worth a look would change in a cubin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nvgemm.errors import SassError
from nvgemm.sass.control import instructions
from nvgemm.sass.cubin import functions
from nvgemm.sass.policy import apply
from nvgemm.sass.report.statistics import control_counts
from nvgemm.sass.report.table import table
from nvgemm.sass.report.timeline import timeline
from nvgemm.sass.runs import runs
from nvgemm.sass.verify import Summary, verify

POLICIES = (
    *("asis", "none", "e2", "e2p1", "e3", "e4", "e8", "9_16", "hd16", "hd32", "tl32"),
    *("s2e2", "s2e3", "s2e4", "s2e8", "s3e4", "s2e2-9_16", "s2e2-hd32", "s2e4-hd32", "s2e8-hd32"),
)


def catalogue(raw: bytes, own: str) -> list[dict[str, Any]]:
    """Counts of the kernel's `own` policy and of each of `POLICIES` on the FFMAs of all promotion runs.

    Returns
    -------
    list of dict
        The `own` one first. ``policy``, the fields of `verify.Summary`, ``yields`` and ``reuse`` afterwards, ``cycles``
        (of all runs, one warp alone, by the model of `timeline`) and ``refusal`` (the rule that it breaks, or None).

    Raises
    ------
    SassError
        Where `raw` is no cubin for sm_90.
    """
    return [_row(raw, policy) for policy in dict.fromkeys((own, *POLICIES))]


def _row(raw: bytes, policy: str) -> dict[str, Any]:
    patched = apply(raw, policy)
    try:
        summary, refusal = asdict(verify(raw, patched, policy)), None
    except SassError as error:
        patched, summary, refusal = raw, asdict(Summary()), str(error)
    ffmas, cycles = [], 0
    for kernel in functions(patched):
        program = instructions(patched, kernel)
        for run in runs(program):
            ffmas += [program[index] for index in run.ffmas]
            cycles += len(timeline(program[run.start : run.stop]))
    counts = control_counts(ffmas)
    after = {"yields": counts["yields"], "reuse": counts["reuse"], "cycles": cycles}
    return {"policy": policy, **summary, **after, "refusal": refusal}


def as_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of `catalogue`'s rows, and the refusals below it."""
    names = [name for name in rows[0] if name != "refusal"]
    text = table([name.replace("_", " ") for name in names], [[row[name] for name in names] for row in rows])
    refused = [f"{row['policy']} is refused: {row['refusal']}" for row in rows if row["refusal"]]
    notes = (
        f"{rows[0]['policy']}: the kernel's own, or the one asked for, or what a file gets",
        "cycles: of all runs, one warp alone, by the published model; not measured",
    )
    return "\n".join([text, *notes, *refused])
