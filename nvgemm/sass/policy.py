"""Policies: which FFMAs of a promotion run yield the issue slot, or stall a cycle longer, and which keep their operand
for reuse.

While one consumer warpgroup promotes, the other should get issue slots for its tensor-core instructions. DeepGEMM found
that yield bits on FFMAs bring that about (https://github.com/deepseek-ai/DeepGEMM); which ones are best depends on the
kernel, hence policies by name.

======================  ===============================================================================================
``asis``                the compiler's bytes
``none``                no yields, and slot B reused wherever that is legal; every policy below starts from this
``e<K>p<P>``            positions P, P+K, P+2K … yield; ``e<K>`` is ``e<K>p0``
``s<S>e<K>``            every K-th position (K−1, 2K−1, …; or from P on, ``s<S>e<K>p<P>``) stalls S cycles, reuse kept
``<A>_<B>``             every second position in the first A/B of the run yields
``hd<N>``, ``tl<N>``    every second position in the first, or last, N yields
``<pattern>-<window>``  an ``e`` or ``s`` pattern within such a window: ``s2e2-hd32``
======================  ===============================================================================================
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from nvgemm.sass.control import (
    MAX_STALL,
    NO_YIELD,
    REUSE_B,
    REUSE_MASK,
    RZ,
    STALL_MASK,
    STALL_SHIFT,
    Instruction,
    instructions,
)
from nvgemm.sass.cubin import INSTRUCTION_BYTES, Function, functions
from nvgemm.sass.flow import branch_targets, ends_block, read_soon
from nvgemm.sass.runs import runs

_PATTERN = r"(?:s(?P<stall>\d{1,2}))?e(?P<period>\d{1,3})(?:p(?P<phase>\d{1,3}))?"
_WINDOW = r"hd(?P<head>\d{1,3})|tl(?P<tail>\d{1,3})|(?P<part>\d{1,2})_(?P<whole>\d{1,2})"
_NAME = re.compile(rf"(?:{_PATTERN})?(?:(?:(?<=[0-9])-|^)(?:{_WINDOW}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Policy:
    """One way to set control bits.

    Attributes
    ----------
    name : str
        As the user wrote it.
    keeps_all : bool
        Leave the compiler's bytes alone; the fields below then mean nothing.
    period, phase : int
        Positions `phase`, `phase` + `period`, … of the window are chosen; period 0 chooses none.
    stall : int
        Cycles that a chosen FFMA stalls; 0 lets it yield instead.
    head, tail : int or None
        The window is the first, or last, so many positions.
    share : tuple of int
        The window is the first share[0]/share[1] of the run.
    """

    name: str
    keeps_all: bool = False
    period: int = 0
    phase: int = 0
    stall: int = 0
    head: int | None = None
    tail: int | None = None
    share: tuple[int, int] = (1, 1)

    def positions(self, count: int) -> range:
        """Chosen positions of a run of `count` FFMAs."""
        if not self.period:
            return range(0)
        stop = count * self.share[0] // self.share[1]
        if self.head is not None:
            stop = min(stop, self.head)
        start = 0 if self.tail is None else max(0, count - self.tail)
        return range(start + self.phase, stop, self.period)


def parse(name: str) -> Policy:
    """Policy of that name.

    Raises
    ------
    ValueError
        Where `name` is no policy; the message lists the forms.
    """
    if name in ("asis", "none"):
        return Policy(name, keeps_all=name == "asis")
    match = _NAME.fullmatch(name) if name else None
    if match is None:
        raise _unknown(name)
    fields = {key: int(value) for key, value in match.groupdict().items() if value is not None}
    period, stall = fields.get("period", 2), fields.get("stall", 0)
    phase = fields.get("phase", period - 1 if stall else 0)
    share = (fields.get("part", 1), fields.get("whole", 1))
    whole_share = 1 <= share[0] <= share[1]
    if not (0 <= phase < period and whole_share and fields.get("head", 1) and fields.get("tail", 1)):
        raise _unknown(name)
    if "stall" in fields and not 2 <= stall <= MAX_STALL:
        raise ValueError(f"SASS policy {name!r}: the stall must be 2 to {MAX_STALL} cycles, got {stall}")
    return Policy(name, False, period, phase, stall, fields.get("head"), fields.get("tail"), share)


def _unknown(name: str) -> ValueError:
    return ValueError(
        f"SASS policy {name!r}: expected asis, none, e<K>p<P> (P < K), s<S>e<K>, <A>_<B> (A ≤ B), hd<N>, tl<N>, "
        "or a pattern within a window such as s2e2-hd32"
    )


def apply(image: bytes, policy: str) -> bytes:
    """Patch every promotion run of a cubin; a cubin without one comes back unchanged.

    Only yield, reuse and stall bits of unpredicated FFMAs change, in place. Applying the same policy again changes
    nothing.

    Raises
    ------
    ValueError
        Where `policy` is no policy (see `parse`).
    SassError
        Where `image` is not a cubin for sm_90.
    """
    chosen = parse(policy)
    patched = bytearray(image)
    for function in functions(image):
        if chosen.keeps_all:
            continue
        for index, hi in _high_halves(instructions(image, function), function, chosen).items():
            struct.pack_into("<Q", patched, function.offset + INSTRUCTION_BYTES * index + 8, hi)
    return bytes(patched)


def _high_halves(program: Sequence[Instruction], function: Function, policy: Policy) -> dict[int, int]:
    """New high halves of the FFMAs in all runs, by instruction index."""
    targets = branch_targets(program, function.jump_tables)
    changed: dict[int, int] = {}
    for run in runs(program):
        chosen = set(policy.positions(len(run)))
        for position, index in enumerate(run.ffmas):
            if index in function.relocated or not 1 <= program[index].control.stall <= MAX_STALL:
                continue
            hi = _without_yield(program, index, targets)
            if hi & NO_YIELD and position in chosen:
                hi = _with_stall(hi, policy.stall) if policy.stall else hi & ~(NO_YIELD | REUSE_MASK)
            changed[index] = hi
    return changed


def _without_yield(program: Sequence[Instruction], index: int, targets: frozenset[int]) -> int:
    """High half without yield and with slot B reused, each as far as the verifier's rules 4, 6, 8 and 9 allow."""
    this = program[index]
    hi = this.hi
    if not hi & NO_YIELD:
        if hi & REUSE_MASK or ends_block(program, index, targets) or read_soon(program, index):
            return hi
        hi |= NO_YIELD
    return hi | REUSE_B if _may_reuse(program, index, targets) else hi


def _may_reuse(program: Sequence[Instruction], index: int, targets: frozenset[int]) -> bool:
    if index + 1 == len(program) or index + 1 in targets:
        return False
    this, following = program[index], program[index + 1]
    return following.is_ffma and following.rb == this.rb and this.rb not in (this.rd, RZ)


def _with_stall(hi: int, stall: int) -> int:
    return hi & ~STALL_MASK | max(hi >> STALL_SHIFT & 15, stall) << STALL_SHIFT
