"""Instructions as text, for reading: FFMAs with operands, others by name."""

from __future__ import annotations

from nvgemm.sass.control import FFMA, PT, RZ, Instruction

# by opcode without the operand form (bits 11:9), as nvdisasm names them on sm_90
NAMES = {
    0x002: "MOV", 0x005: "CS2R", 0x006: "VOTE", 0x007: "SEL", 0x008: "FSEL", 0x00B: "FSETP", 0x00C: "ISETP",
    0x010: "IADD3", 0x011: "LEA", 0x012: "LOP3", 0x016: "PRMT", 0x019: "SHF", 0x01C: "PLOP3", 0x020: "FMUL",
    0x021: "FADD", 0x023: "FFMA", 0x024: "IMAD", 0x025: "IMAD.WIDE", 0x027: "IMAD.HI", 0x02F: "ELECT", 0x030: "HADD2",
    0x031: "HFMA2", 0x032: "HMUL2", 0x036: "VIADD", 0x03B: "LDSM", 0x03E: "F2FP", 0x044: "STSM", 0x045: "I2FP",
    0x082: "UMOV", 0x086: "VOTEU", 0x087: "USEL", 0x08C: "UISETP", 0x090: "UIADD3", 0x091: "ULEA", 0x092: "ULOP3",
    0x096: "UPRMT", 0x097: "UIADD3", 0x099: "USHF", 0x09C: "UPLOP3", 0x0A4: "UIMAD", 0x0A5: "UIMAD.WIDE", 0x0B9: "ULDC",
    0x0CA: "R2UR", 0x108: "MUFU", 0x118: "NOP", 0x119: "S2R", 0x11A: "DEPBAR", 0x11D: "BAR", 0x141: "BSYNC",
    0x144: "CALL", 0x145: "BSSY", 0x147: "BRA", 0x148: "WARPSYNC", 0x149: "BRX", 0x14D: "EXIT", 0x150: "RET",
    0x181: "LDG", 0x182: "LDC", 0x183: "LDL", 0x184: "LDS", 0x186: "STG", 0x187: "STL", 0x188: "STS", 0x189: "SHFL",
    0x18E: "REDG", 0x192: "MEMBAR",
    0x1A7: "SYNCS", 0x1A8: "ATOMG", 0x1B2: "SYNCS", 0x1B4: "UTMALDG", 0x1B5: "UTMASTG", 0x1B7: "UTMACMDFLUSH",
    0x1BA: "UBLKCP", 0x1C3: "S2UR", 0x1C4: "REDUX", 0x1C5: "WARPGROUP", 0x1C6: "FENCE", 0x1C8: "USETMAXREG",
    0x1F0: "HGMMA", 0x1F1: "IGMMA", 0x1F3: "QGMMA",
}  # fmt: skip
_ROUNDING = ("", ".RM", ".RP", ".RZ")


def as_text(instruction: Instruction) -> str:
    """``FFMA R24, R40, R8, R24`` for an FFMA of three registers, the name alone for others, ``0x…`` where it is not
    known.

    Reuse flags are not part of the text; `Control` shows them.
    """
    if instruction.opcode == FFMA:
        return _guard(instruction) + _ffma(instruction)
    return _guard(instruction) + NAMES.get(instruction.lo & 0x1FF, f"{instruction.opcode:#05x}")


def _guard(instruction: Instruction) -> str:
    if instruction.predicate == PT:
        return ""
    number = instruction.predicate & 7
    return f"@{'!' if instruction.predicate & 8 else ''}P{'T' if number == PT else number} "


def _ffma(instruction: Instruction) -> str:
    lo, hi = instruction.lo, instruction.hi
    flush = ".FTZ" if hi >> 16 & 1 else ".FMZ" if hi >> 12 & 1 else ""
    suffix = flush + _ROUNDING[hi >> 14 & 3] + (".SAT" if hi >> 13 & 1 else "")
    a = _register(instruction.ra, hi >> 8 & 1, hi >> 9 & 1)
    b = _register(instruction.rb, lo >> 63 & 1, lo >> 62 & 1)
    c = _register(instruction.rc, hi >> 11 & 1, hi >> 10 & 1)
    return f"FFMA{suffix} {_register(instruction.rd)}, {a}, {b}, {c}"


def _register(number: int, negative: int = 0, absolute: int = 0) -> str:
    name = "RZ" if number == RZ else f"R{number}"
    name = f"|{name}|" if absolute else name
    return f"-{name}" if negative else name
