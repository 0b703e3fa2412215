"""Control flow and register reads of a kernel, as far as moving control bits needs them.

Everything unknown is taken for the worse case: an indirect jump may land anywhere, an operand field of an unfamiliar
instruction is a read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nvgemm.sass.control import FFMA, RZ, Instruction
from nvgemm.sass.runs import TENSOR_CORE

# opcodes without their operand form (bits 11:9)
_BSYNC, _BREAK, _CALL_ABS, _CALL_REL, _BSSY, _BRA, _WARPSYNC = 0x141, 0x142, 0x143, 0x144, 0x145, 0x147, 0x148
_BRX, _JMP, _JMX, _EXIT, _RET, _BRXU, _JMXU, _KILL = 0x149, 0x14A, 0x14C, 0x14D, 0x150, 0x158, 0x159, 0x15B
_RPCMOV_32, _RPCMOV_64, _BMOV_64 = 0x152, 0x154, 0x157
_TABLE_TARGET = {_BRX, _BRXU}
_UNKNOWN_TARGET = {_JMP, _JMX, _JMXU, _RPCMOV_32, _RPCMOV_64, _BMOV_64}
_ENDS_BLOCK = {_BSYNC, _BREAK, _CALL_ABS, _CALL_REL, _BRA, _BRX, _JMP, _JMX, _EXIT, _RET, _BRXU, _JMXU, _KILL}
_COLLECTIVE = 1 << 22  # high half of WARPSYNC: it then carries the address where the other threads of the warp continue
_REGISTERS_ONLY = 1  # operand form in bits 11:9 in which slot B is a register
# MOV SEL FSEL FSETP ISETP IADD3 LEA LOP3 PRMT SHF FMUL FADD FFMA IMAD VIADD F2FP: no operand is wider than a register
_SINGLE_READ = {0x002, 0x007, 0x008, 0x00B, 0x00C, 0x010, 0x011, 0x012, 0x016, 0x019, 0x020, 0x021, 0x023, 0x024}
_SINGLE_READ |= {0x036, 0x03E}
_UNIFORM = range(0x080, 0x0C0)  # instructions of the uniform datapath: their fields name UR registers
_UNIFORM_C = {0x1A7, 0x1BA}  # SYNCS, UBLKCP: a UR register in slot C
_STSM = 0x044
_FIRST_MEMORY = 0x140  # control, memory and tensor instructions: as in STSM, slot B is a register in other forms too
_WIDEST = 4  # registers of a 128-bit operand
_QGMMA, _MOST_ACCUMULATORS = 0x1F3, 128

READ_DISTANCE = 8  # instructions


def branch_target(instruction: Instruction) -> int | None:
    """Index of the instruction that a direct branch, call, BSSY or collective WARPSYNC names; None for other
    instructions."""
    base = instruction.lo & 0x1FF
    if base == _BSSY:
        delta, bits = instruction.lo >> 32, 32
    elif base in (_BRA, _CALL_REL) or (base == _WARPSYNC and instruction.hi & _COLLECTIVE):
        # 56 bits in units of 4 bytes: the lowest 8 sit in the destination field
        delta = ((instruction.hi & 0x3FFFF) << 30 | instruction.lo >> 34) << 8 | instruction.lo >> 16 & 255
        delta, bits = delta * 4, 58
    else:
        return None
    if delta >> (bits - 1):
        delta -= 1 << bits
    return instruction.index + 1 + delta // 16


def branch_targets(program: Sequence[Instruction], jump_tables: Mapping[int, tuple[int, ...]]) -> frozenset[int]:
    """Indices that control may reach other than from the instruction before.

    All of them where a jump goes to an address that neither the instruction nor `jump_tables` (see `Function`) tells.
    """
    targets: set[int] = set()
    for instruction in program:
        base = instruction.lo & 0x1FF
        if not _BSYNC <= base <= _KILL:
            continue
        jumps = jump_tables.get(instruction.index, ()) if base in _TABLE_TARGET else ()
        if base in _UNKNOWN_TARGET or (base in _TABLE_TARGET and not jumps):
            return frozenset(range(len(program)))
        targets.update(jumps)
        if base in (_CALL_ABS, _CALL_REL):
            targets.add(instruction.index + 1)
        target = branch_target(instruction)
        if target is not None:
            targets.add(target)
    return frozenset(targets)


def ends_block(program: Sequence[Instruction], index: int, targets: frozenset[int]) -> bool:
    """Whether no FFMA follows instruction `index` in its basic block."""
    for at in range(index + 1, len(program)):
        if at in targets or program[at].lo & 0x1FF in _ENDS_BLOCK:
            return True
        if program[at].opcode == FFMA:
            return False
    return True


def read_soon(program: Sequence[Instruction], index: int) -> bool:
    """Whether the result of instruction `index` may be read within `READ_DISTANCE` instructions, on either side of
    branches."""
    register = program[index].rd
    paths = [(index + 1, READ_DISTANCE)]
    while paths:
        at, left = paths.pop()
        for instruction in program[max(at, 0) : max(at, 0) + left]:
            left -= 1
            if _reads(instruction, register):
                return True
            target = branch_target(instruction)
            if target is not None:
                paths.append((target, left))
    return False


def _reads(instruction: Instruction, register: int) -> bool:
    base, form = instruction.lo & 0x1FF, instruction.lo >> 9 & 7
    if base in _UNIFORM or base == _BRA or register == RZ:
        return False
    if base in TENSOR_CORE and instruction.rc != RZ and 0 <= register - instruction.rc < _accumulators(instruction):
        return True
    fields = [instruction.ra] if base in _UNIFORM_C else [instruction.ra, instruction.rc]
    if form == _REGISTERS_ONLY or base >= _FIRST_MEMORY or base == _STSM:
        fields.append(instruction.rb)
    width = 1 if base in _SINGLE_READ else _WIDEST
    return any(field != RZ and field <= register < field + width for field in fields)


def _accumulators(instruction: Instruction) -> int:
    """Registers of slot C, which a tensor-core instruction adds to: of QGMMA N / 2, and bits 58:53 are N / 8 - 1."""
    return 4 * ((instruction.lo >> 53 & 0x3F) + 1) if instruction.lo & 0x1FF == _QGMMA else _MOST_ACCUMULATORS
