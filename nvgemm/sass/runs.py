"""FFMA runs of the promotion.

After each 128 of K the CUDA cores add the scaled tensor-core sums into FP32, one FFMA for each accumulator. Such a run
is all the FFMAs between two tensor-core or warpgroup instructions. ptxas may mix the next stage's loads into it;
positions count the FFMAs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nvgemm.sass.control import Instruction

MIN_LENGTH = 8  # FFMAs; shorter stretches are address or scale arithmetic as a rule
_WARPGROUP = 0x1C5
TENSOR_CORE = {0x1F0, 0x1F1, 0x1F2, 0x1F3}  # HGMMA, IGMMA, BGMMA, QGMMA


@dataclass(frozen=True, slots=True)
class Run:
    """FFMAs of one promotion.

    Attributes
    ----------
    ffmas : tuple of int
        Instruction indices in the function; the place in this tuple is the position that policies count.
    """

    ffmas: tuple[int, ...]

    @property
    def start(self) -> int:
        """Index of the first FFMA."""
        return self.ffmas[0]

    @property
    def stop(self) -> int:
        """Index behind the last FFMA."""
        return self.ffmas[-1] + 1

    def __len__(self) -> int:
        return len(self.ffmas)


def runs(program: Sequence[Instruction]) -> list[Run]:
    """Promotion runs of a kernel, in code order; none where it has no tensor-core instruction before them.

    FFMAs under a predicate, and those with a constant, immediate or uniform operand, belong to no run.
    """
    found: list[Run] = []
    current: list[int] | None = None
    for instruction in program:
        base = instruction.lo & 0x1FF
        if base == _WARPGROUP or base in TENSOR_CORE:
            _close(found, current)
            current = []
        elif current is not None and instruction.is_ffma:
            current.append(instruction.index)
    _close(found, current)
    return found


def _close(found: list[Run], current: list[int] | None) -> None:
    if current is not None and len(current) >= MIN_LENGTH:
        found.append(Run(tuple(current)))
