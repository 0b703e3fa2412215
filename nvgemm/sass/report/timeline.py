"""When a promotion run issues, by the published model of the pipeline. A model, not a measurement.

Huerta et al., "Analyzing Modern NVIDIA GPU cores" (https://arxiv.org/abs/2503.20481, sections 4 and 5.3), found on
other generations than Hopper: a warp issues its next instruction after the stall; with yield another warp has the next
cycle. The register file of a sub-core has two banks (even and odd registers) with one read port each, and an
instruction reads within three cycles of its issue: where the ports are taken, nobody issues. A register kept for reuse
in the same operand slot needs no port; what is kept lasts until the next read of that slot and bank.

Latencies of memory, scoreboards and other warps are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from nvgemm.sass.control import RZ, Instruction

_BANKS = 2
_READ_WINDOW = 3  # cycles

ISSUE, OTHER, FREE, PORT = "issue", "other", "free", "port"


def timeline(program: Sequence[Instruction]) -> list[str]:
    """Cycles of `program`, the instructions from the first FFMA of a run to the last, for one warp alone.

    Returns
    -------
    list of str
        What each cycle is: ``issue`` (an FFMA issues), ``other`` (an instruction between them), ``free`` (another warp
        may issue), ``port`` (the next FFMA waits for a read port; nobody issues).
    """
    cells: list[str] = []
    ports = _Ports()
    for instruction in program:
        control = instruction.control
        if instruction.is_ffma:
            while not ports.admit(instruction, len(cells)):
                cells.append(PORT)
        cells.append(ISSUE if instruction.is_ffma else OTHER)
        given_away = 2 if control.yield_ else 1
        cells += [FREE] * (max(control.stall, given_away) - 1)
    while cells and cells[-1] == FREE:  # what follows the run is not known
        cells.pop()
    return cells


class _Ports:
    """Read ports of the two banks, and the operands kept for reuse."""

    def __init__(self) -> None:
        self._taken: tuple[set[int], ...] = tuple(set() for _ in range(_BANKS))
        self._kept: dict[tuple[int, int], int] = {}

    def admit(self, instruction: Instruction, cycle: int) -> bool:
        """Whether all operands can be read in time when `instruction` issues at `cycle`; if so, its reads are taken."""
        operands = [(slot, register) for slot, register in enumerate(_registers(instruction)) if register != RZ]
        missed = [(slot, register) for slot, register in operands if self._kept.get(_entry(slot, register)) != register]
        window = range(cycle, cycle + _READ_WINDOW)
        chosen: list[list[int]] = []
        for bank, taken in enumerate(self._taken):
            wanted = sum(register % _BANKS == bank for _, register in missed)
            free = [at for at in window if at not in taken][:wanted]
            if len(free) < wanted:
                return False
            chosen.append(free)
        for taken, cycles in zip(self._taken, chosen, strict=True):
            taken.update(cycles)
        for slot, register in operands:
            self._kept.pop(_entry(slot, register), None)
            if not instruction.control.yield_ and instruction.control.reuse >> slot & 1:
                self._kept[_entry(slot, register)] = register
        return True


def _registers(instruction: Instruction) -> tuple[int, int, int]:
    return instruction.ra, instruction.rb, instruction.rc


def _entry(slot: int, register: int) -> tuple[int, int]:
    return slot, register % _BANKS
