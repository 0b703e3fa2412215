"""The 128-bit instruction of sm_90 and its control word.

A word is two little-endian 64-bit halves. Bits 41 to 60 of the high half control issue: how long the warp waits,
whether it yields its issue slot, which scoreboards it sets and waits for, and which operands stay in the reuse cache.
Field positions follow CuAssembler (https://github.com/cloudcores/CuAssembler) and were checked against nvdisasm for
sm_90.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from nvgemm.errors import SassError
from nvgemm.sass.cubin import INSTRUCTION_BYTES, Function

STALL_SHIFT, YIELD_SHIFT, WRITE_SHIFT, READ_SHIFT, WAIT_SHIFT, REUSE_SHIFT = 41, 45, 46, 49, 52, 58
STALL_MASK = 15 << STALL_SHIFT
NO_YIELD = 1 << YIELD_SHIFT  # the bit is inverted: 0 yields
SCOREBOARD_MASK = 0xFFF << WRITE_SHIFT
REUSE_MASK = 7 << REUSE_SHIFT
REUSE_B = 2 << REUSE_SHIFT
MAX_STALL = 11  # longest stall that has an encoding without yield

FFMA = 0x223  # FFMA with three register operands
PT = 7  # guard predicate that is always true
RZ = 255
_NONE = 7  # scoreboard number of "none"


@dataclass(frozen=True, slots=True)
class Control:
    """Control word of one instruction.

    Attributes
    ----------
    stall : int
        Least cycles until the same warp issues again, 0 to 15.
    yield_ : bool
        The scheduler should issue from another warp next.
    write_barrier, read_barrier : int or None
        Scoreboard released when the result is written, and when the operands have been read.
    wait_mask : int
        Scoreboards 0 to 5 to wait for, one bit each.
    reuse : int
        Operand slots to keep in the reuse cache: bit 0 for A, 1 for B, 2 for C. With `yield_` the same bits mean
        something else (a batch marker), so a legal patch leaves them 0 there.
    """

    stall: int
    yield_: bool
    write_barrier: int | None
    read_barrier: int | None
    wait_mask: int
    reuse: int

    @classmethod
    def decode(cls, hi: int) -> Control:
        """Control fields of the high half `hi` of an instruction."""
        write, read = hi >> WRITE_SHIFT & 7, hi >> READ_SHIFT & 7
        return cls(
            hi >> STALL_SHIFT & 15,
            not hi & NO_YIELD,
            None if write == _NONE else write,
            None if read == _NONE else read,
            hi >> WAIT_SHIFT & 63,
            hi >> REUSE_SHIFT & 7,
        )

    def encode(self, hi: int) -> int:
        """`hi` with its control fields replaced by these; all other bits stay."""
        fields = (
            self.stall << STALL_SHIFT
            | (0 if self.yield_ else NO_YIELD)
            | (_NONE if self.write_barrier is None else self.write_barrier) << WRITE_SHIFT
            | (_NONE if self.read_barrier is None else self.read_barrier) << READ_SHIFT
            | self.wait_mask << WAIT_SHIFT
            | self.reuse << REUSE_SHIFT
        )
        return hi & ~(STALL_MASK | NO_YIELD | SCOREBOARD_MASK | REUSE_MASK) | fields

    def __str__(self) -> str:
        """Notation of CuAssembler, reuse slots behind it: ``B------:R-:W-:-:S01 reuse B``."""
        wait = "".join(str(i) if self.wait_mask >> i & 1 else "-" for i in range(6))
        read = "-" if self.read_barrier is None else str(self.read_barrier)
        write = "-" if self.write_barrier is None else str(self.write_barrier)
        slots = "".join(slot for bit, slot in enumerate("ABC") if self.reuse >> bit & 1)
        text = f"B{wait}:R{read}:W{write}:{'Y' if self.yield_ else '-'}:S{self.stall:02d}"
        return f"{text} {'batch' if self.yield_ else 'reuse'} {slots}" if slots else text


@dataclass(slots=True)
class Instruction:
    """One instruction: low and high half, and its place in the function."""

    lo: int
    hi: int
    index: int

    @property
    def opcode(self) -> int:
        """Twelve opcode bits, operand form included."""
        return self.lo & 0xFFF

    @property
    def predicate(self) -> int:
        """Guard predicate 0 to 7; bit 3 negates it."""
        return self.lo >> 12 & 15

    @property
    def rd(self) -> int:
        """Destination register."""
        return self.lo >> 16 & 255

    @property
    def ra(self) -> int:
        """Register of operand slot A."""
        return self.lo >> 24 & 255

    @property
    def rb(self) -> int:
        """Register of operand slot B, where the operand form has one."""
        return self.lo >> 32 & 255

    @property
    def rc(self) -> int:
        """Register of operand slot C."""
        return self.hi & 255

    @property
    def control(self) -> Control:
        """Decoded control word."""
        return Control.decode(self.hi)

    @property
    def is_ffma(self) -> bool:
        """FFMA of three registers that runs under no predicate: the only instruction that a policy touches."""
        return self.lo & 0xFFFF == PT << 12 | FFMA


def instructions(image: bytes, function: Function) -> list[Instruction]:
    """Decode the code of one kernel of `image`.

    Raises
    ------
    SassError
        Where `function` does not lie within `image`.
    """
    if function.offset + function.size > len(image):
        end = function.offset + function.size
        raise SassError(f"{function.name}: code ends at {end:#x}, the file at {len(image):#x}")
    count = function.size // INSTRUCTION_BYTES
    words = struct.unpack_from(f"<{2 * count}Q", image, function.offset)
    return [Instruction(lo, hi, index) for index, (lo, hi) in enumerate(zip(words[::2], words[1::2], strict=True))]
