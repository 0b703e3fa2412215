"""Why an FFMA of a promotion run has the control word that it has after a patch: policy and rule, in a few words.

Rules are those of `nvgemm.sass.verify`.
"""

from __future__ import annotations

from collections.abc import Sequence

from nvgemm.sass.control import MAX_STALL, Control, Instruction
from nvgemm.sass.cubin import Function
from nvgemm.sass.flow import READ_DISTANCE, branch_targets, ends_block, read_soon
from nvgemm.sass.policy import Policy
from nvgemm.sass.runs import Run


class Reasons:
    """Reasons for the control words of one kernel under one policy; `program` is the compiler's."""

    def __init__(self, kernel: Function, program: Sequence[Instruction], policy: Policy) -> None:
        self._kernel, self._program, self._policy = kernel, program, policy
        self._targets = branch_targets(program, kernel.jump_tables)

    def why(self, run: Run, position: int, after: Control) -> str:
        """Of the FFMA at `position` of `run`; empty where the policy wants nothing of it."""
        if self._policy.keeps_all:
            return ""
        index = run.ffmas[position]
        before = self._program[index].control
        chosen = position in self._policy.positions(len(run))
        if before == after:
            return self._kept(index, before, chosen)
        place = f"position {position} of {self._policy.name}"
        changes = {
            f"yields: {place}": after.yield_ and not before.yield_,
            f"stalls {after.stall}: {place}": after.stall > before.stall,
            f"yields no more: {self._policy.name} has no yield here": before.yield_ and not after.yield_,
            "keeps slot B for the next FFMA (rule 6)": bool(after.reuse & ~before.reuse),
            "keeps nothing while it yields (rule 4)": bool(before.reuse and not after.reuse),
        }
        return "; ".join(text for text, holds in changes.items() if holds)

    def _kept(self, index: int, control: Control, chosen: bool) -> str:
        """Which rule kept the patcher from what the policy asks for, if one did."""
        if index in self._kernel.relocated:
            return "left alone: the loader rewrites it (rule 10)"
        if not 1 <= control.stall <= MAX_STALL:
            return f"left alone: stall {control.stall} has no other encoding (rules 5, 7)"
        if not control.yield_ or (chosen and not self._policy.stall):
            return ""
        if control.reuse:
            return "left alone: a batch marker stands where reuse would (rule 4)"
        if ends_block(self._program, index, self._targets):
            return "goes on yielding: the last FFMA of its block (rule 8)"
        if read_soon(self._program, index):
            return f"goes on yielding: R{self._program[index].rd} is read within {READ_DISTANCE} instructions (rule 8)"
        return ""
