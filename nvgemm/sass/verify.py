"""Proof that a patched cubin does what the raw one does.

The patched program executes the same instructions with the same operands and no shorter waits; only issue order between
warps may change. The proof is relative to the published model of stall, yield and reuse (Huerta et al., "Analyzing
Modern NVIDIA GPU cores", https://arxiv.org/abs/2503.20481, sections 4 and 5.3).

====  ==============================================================================================================
rule  holds where
====  ==============================================================================================================
1     sizes agree, bytes differ only inside the code of kernels, and the low half of every instruction is the same
2     in the high half only yield, reuse and stall bits differ (scoreboards: rule 3)
3     only FFMAs of three registers without a predicate differ, and their scoreboard and wait bits do not
4     an FFMA that yields has no reuse bits, before or after: with yield they encode a batch marker, which nvdisasm does
      not show
5     an FFMA that does not yield stalls 1 to 11 cycles: nothing else has an encoding
6     reuse is added on slot B alone, and only where the next instruction is such an FFMA with the same register B and
      the setter does not itself overwrite that register
7     no stall is lowered, and stall 0 is left alone
8     yield is cleared only where the result is not read within 8 instructions, and not on the last FFMA of a block
9     no branch enters between an added reuse flag and its user
10    CUDA for sm_90, no relocation on a changed instruction, and (where the policy is named) patching again changes
      nothing
====  ==============================================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvgemm.errors import SassError
from nvgemm.sass.control import (
    MAX_STALL,
    NO_YIELD,
    REUSE_MASK,
    SCOREBOARD_MASK,
    STALL_MASK,
    Control,
    Instruction,
    instructions,
)
from nvgemm.sass.cubin import Function, functions
from nvgemm.sass.flow import READ_DISTANCE, branch_targets, ends_block, read_soon
from nvgemm.sass.policy import apply

_SLOT_B = 2


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of what a patch changed: control words in all, and by kind."""

    changed: int = 0
    yields_set: int = 0
    yields_cleared: int = 0
    reuse_set: int = 0
    reuse_cleared: int = 0
    stalls_raised: int = 0


def verify(raw: bytes, patched: bytes, policy: str | None = None) -> Summary:
    """Check all rules of this module, and count what changed.

    Parameters
    ----------
    raw, patched : bytes
        The compiler's cubin and the one to be loaded in its place.
    policy : str, optional
        The policy that made `patched`; then patching again must change nothing.

    Raises
    ------
    SassError
        With ``rule`` and, where one instruction breaks it, ``index`` in its function. ``rule`` is None where `raw` is
        no cubin at all.
    """
    kernels = functions(raw)
    _check_outside(raw, patched, kernels)
    changes = []
    for kernel in kernels:
        code = slice(kernel.offset, kernel.offset + kernel.size)
        if raw[code] != patched[code]:
            changes += _check_kernel(kernel, instructions(raw, kernel), instructions(patched, kernel))
    if policy is not None and apply(patched, policy) != patched:
        raise SassError(f"policy {policy} patches its own result once more; rule 10", rule=10)
    return _summary(changes)


def _check_outside(raw: bytes, patched: bytes, kernels: Sequence[Function]) -> None:
    if len(raw) != len(patched):
        raise SassError(f"the patched cubin has {len(patched)} bytes, the raw one {len(raw)}; rule 1", rule=1)
    at = 0
    for start, stop in [(kernel.offset, kernel.offset + kernel.size) for kernel in kernels] + [(len(raw), len(raw))]:
        if raw[at:start] != patched[at:start]:
            raise SassError(f"bytes {at:#x} to {start:#x}, outside any kernel's code, differ; rule 1", rule=1)
        at = stop


def _check_kernel(
    kernel: Function, raw: Sequence[Instruction], patched: Sequence[Instruction]
) -> list[tuple[Control, Control]]:
    """Control words before and after of all changed instructions, once they have passed."""
    targets = branch_targets(raw, kernel.jump_tables)
    changes = []
    for before, after in zip(raw, patched, strict=True):
        if before.lo == after.lo and before.hi == after.hi:
            continue
        old, new = before.control, after.control
        broken = _bits(before, after) or _waits(raw, before.index, old, new, targets)
        broken = broken or _reuse(patched, after.index, old, new, targets)
        if not broken and before.index in kernel.relocated:
            broken = (10, "is rewritten by a relocation")
        if broken:
            rule, reason = broken
            raise SassError(
                f"{kernel.name}: instruction {before.index} (at {16 * before.index:#06x}) {reason}: "
                f"{old} became {new}; rule {rule}",
                rule=rule,
                index=before.index,
            )
        changes.append((old, new))
    return changes


def _bits(before: Instruction, after: Instruction) -> tuple[int, str] | None:
    """Rules 1, 2 and 3: nothing but control bits of FFMAs."""
    if before.lo != after.lo:
        return 1, "has another low half"
    difference = before.hi ^ after.hi
    if difference & ~(NO_YIELD | REUSE_MASK | STALL_MASK | SCOREBOARD_MASK):
        return 2, f"differs outside its control word ({difference:#x})"
    if difference & SCOREBOARD_MASK:
        return 3, "has other scoreboard or wait bits"
    if not before.is_ffma:
        return 3, "is not an FFMA of three registers without a predicate"
    return None


def _waits(
    program: Sequence[Instruction], index: int, old: Control, new: Control, targets: frozenset[int]
) -> tuple[int, str] | None:
    """Rules 7, 5 and 8: how long the warp waits, and whether it gives its slot away."""
    if old.stall == 0 or new.stall < old.stall:
        return 7, "stalls 0 cycles and was changed" if old.stall == 0 else "waits for fewer cycles"
    if not new.yield_ and not 1 <= new.stall <= MAX_STALL:
        return 5, f"stalls {new.stall} cycles without yield"
    if old.yield_ and not new.yield_:
        if ends_block(program, index, targets):
            return 8, "is the last FFMA of its block and no longer yields"
        if read_soon(program, index):
            return 8, f"no longer yields, and its result is read within {READ_DISTANCE} instructions"
    return None


def _reuse(
    program: Sequence[Instruction], index: int, old: Control, new: Control, targets: frozenset[int]
) -> tuple[int, str] | None:
    """Rules 4, 6 and 9: which operands stay in the reuse cache."""
    if new.yield_ and new.reuse:
        return 4, "yields with reuse bits"
    if old.yield_ and old.reuse:
        return 4, "was a batch marker and was changed"
    added = new.reuse & ~old.reuse
    if not added:
        return None
    this, following = program[index], program[index + 1] if index + 1 < len(program) else None
    if added != _SLOT_B or following is None or not following.is_ffma or following.rb != this.rb:
        return 6, "keeps an operand that the next instruction does not read in slot B"
    if this.rd == this.rb:
        return 6, "keeps a register that it overwrites"
    if following.index in targets:
        return 9, "keeps an operand, and a branch enters before its user"
    return None


def _summary(changes: Sequence[tuple[Control, Control]]) -> Summary:
    return Summary(
        changed=len(changes),
        yields_set=sum(new.yield_ and not old.yield_ for old, new in changes),
        yields_cleared=sum(old.yield_ and not new.yield_ for old, new in changes),
        reuse_set=sum((new.reuse & ~old.reuse).bit_count() for old, new in changes),
        reuse_cleared=sum((old.reuse & ~new.reuse).bit_count() for old, new in changes),
        stalls_raised=sum(new.stall > old.stall for old, new in changes),
    )
