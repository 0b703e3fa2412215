"""Decoding and printing instructions, checked on every instruction of real cubins and against nvdisasm."""

import re
from pathlib import Path

import pytest
from sass_compile import BLOCK_N, disassemble, promotion_cubin
from sass_handmade import ffma

from nvgemm.errors import SassError
from nvgemm.sass.control import Control, Instruction, instructions
from nvgemm.sass.cubin import Function, functions
from nvgemm.sass.opcodes import as_text


@pytest.mark.parametrize("block_n", BLOCK_N)
def test_round_trip(block_n: int) -> None:
    image = promotion_cubin(block_n)
    for kernel in functions(image):
        for instruction in instructions(image, kernel):
            fields = 0xFFFFF << 41 & ~(1 << 61)
            assert instruction.control.encode(instruction.hi) == instruction.hi
            assert instruction.control.encode(0) == instruction.hi & fields
            assert instruction.control.encode(2**64 - 1) == instruction.hi & fields | ~fields & 2**64 - 1


@pytest.mark.parametrize(
    ("hi", "text"),
    [
        (0x000FE20000000000, "B------:R-:W-:-:S01"),
        (0x000FC20000000000, "B------:R-:W-:Y:S01"),
        (0x080FE20000000000, "B------:R-:W-:-:S01 reuse B"),
        (0x1C0FE40000000000, "B------:R-:W-:-:S02 reuse ABC"),
        (0x082FC20000000000, "B-1----:R-:W-:Y:S01 batch B"),
        (0x02166E0000000000, "B0----5:R3:W1:-:S07"),
    ],
)
def test_notation(hi: int, text: str) -> None:
    assert str(Control.decode(hi)) == text


def test_function_outside_the_file() -> None:
    with pytest.raises(SassError, match="k: code ends at 0x120, the file at 0x20"):
        instructions(bytes(32), Function("k", 256, 32, frozenset(), None, {}))


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0, "FFMA R1, R2, R3, R4"),
        (1 << 62, "FFMA R1, R2, |R3|, R4"),
        (1 << 63, "FFMA R1, R2, -R3, R4"),
        (3 << 72, "FFMA R1, -|R2|, R3, R4"),
        (3 << 74, "FFMA R1, R2, R3, -|R4|"),
        (1 << 76, "FFMA.FMZ R1, R2, R3, R4"),
        (1 << 77, "FFMA.SAT R1, R2, R3, R4"),
        (3 << 78 | 1 << 80, "FFMA.FTZ.RZ R1, R2, R3, R4"),
        (255 << 16, "FFMA RZ, R2, R3, R4"),
    ],
)
def test_operand_text(bits: int, text: str) -> None:
    lo, hi = ffma(1, 2, 3, 4)
    assert as_text(Instruction(lo | bits & 2**64 - 1, hi | bits >> 64, 0)) == text


def test_predicates_and_unknown_opcodes() -> None:
    assert as_text(Instruction(*ffma(1, 2, 3, 4, predicate=0xA), 0)) == "@!P2 FFMA R1, R2, R3, R4"
    assert as_text(Instruction(*ffma(1, 2, 3, 4, opcode=0x3FF), 0)) == "0x3ff"


@pytest.mark.parametrize("block_n", BLOCK_N)
def test_text_agrees_with_nvdisasm(block_n: int, tmp_path: Path) -> None:
    image = promotion_cubin(block_n)
    listing = disassemble(image, tmp_path, "-c")
    for kernel in functions(image):
        body = re.split(rf"\n\.text\.{kernel.name}:", listing)[1].split("\n//----")[0]
        lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(.*?) *;", body)
        program = instructions(image, kernel)
        assert len(lines) == len(program)
        for line, instruction in zip(lines, program, strict=True):
            ours = as_text(instruction)
            if instruction.is_ffma:
                assert ours == line.replace(".reuse", "")
            elif "0x" not in ours and "@U" not in line:
                assert line.startswith(ours)
