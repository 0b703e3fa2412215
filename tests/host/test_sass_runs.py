"""Promotion runs and control flow."""

import re
from pathlib import Path

import pytest
from sass_compile import BLOCK_N, STAGES, disassemble, nvrtc_cubin, promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, Word, branch, ffma, other, promotion

from nvgemm.sass.control import Instruction, instructions
from nvgemm.sass.cubin import functions
from nvgemm.sass.flow import branch_targets, ends_block, read_soon
from nvgemm.sass.runs import runs

JUMPS = b"""
extern "C" __global__ void jumps(float* x, long long* q, int n) {
    float v = x[threadIdx.x];
    long long z = q[threadIdx.x];
    if (v > 1) v += __shfl_down_sync(0xffff, v, 3);
    for (int i = 0; i < n; ++i) { z = z / (n + i) + z % q[3]; if (z == 5) break; v = sinf(v); }
    x[threadIdx.x] = v;
    q[threadIdx.x] = z;
}"""
SWITCH = b"""
extern "C" __global__ void choose(float* x, int n) {
    switch (n) {
        case 0: x[0] = sinf(x[1]); break; case 1: x[1] = logf(x[0]); break; case 2: x[5] = 3; break;
        case 3: x[2] = x[1] / x[0]; break; case 4: x[7] = 9; break; case 5: x[4] = sqrtf(x[3]); break; case 6: x[9] = 1;
    }
}"""


def program(words: list[Word]) -> list[Instruction]:
    return [Instruction(lo, hi, index) for index, (lo, hi) in enumerate(words)]


@pytest.mark.parametrize("block_n", BLOCK_N)
def test_one_run_a_stage(block_n: int) -> None:
    image = promotion_cubin(block_n)
    found = {kernel.name: runs(instructions(image, kernel)) for kernel in functions(image)}
    assert [len(run) for run in found["promotion"]] == [block_n // 2] * STAGES
    assert found["polynomial"] == []


def test_positions_count_ffmas_alone() -> None:
    mixed = promotion(12)
    mixed[5:5] = [NOP, other(0x984)]
    (run,) = runs(program([WARPGROUP, *mixed, EXIT]))
    assert run.ffmas == (1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14)
    assert (run.start, run.stop, len(run)) == (1, 15, 12)


def test_real_code_is_mixed() -> None:
    image = promotion_cubin(128)
    kernel = next(kernel for kernel in functions(image) if kernel.name == "promotion")
    assert any(run.stop - run.start > len(run) for run in runs(instructions(image, kernel)))


@pytest.mark.parametrize("tensor", [0x9C5, 0x9F3, 0xDF3, 0x9F0])
def test_tensor_core_instructions_part_runs(tensor: int) -> None:
    words = [other(tensor), *promotion(8), other(tensor), *promotion(9)]
    assert [len(run) for run in runs(program(words))] == [8, 9]


def test_what_is_no_run() -> None:
    assert runs(program([*promotion(), EXIT])) == []  # no tensor core before it
    assert runs(program([WARPGROUP, *promotion(7), EXIT])) == []  # too short
    assert runs(program([WARPGROUP, *promotion(16, predicate=0), EXIT])) == []
    for form in (0x823, 0xA23, 0x423, 0x623, 0xC23):
        assert runs(program([WARPGROUP, *promotion(16, opcode=form), EXIT])) == []


@pytest.mark.parametrize("source", ["promotion", "jumps", "switch"])
def test_branch_targets_agree_with_nvdisasm(source: str, tmp_path: Path) -> None:
    image = promotion_cubin(112) if source == "promotion" else nvrtc_cubin(JUMPS if source == "jumps" else SWITCH, {})
    listing = disassemble(image, tmp_path, "-c")
    for kernel in functions(image):
        body = re.split(rf"\n\.text\.{kernel.name}:", listing)[1].split("\n//----")[0]
        named = set(re.findall(r"`\(([^)]+)\)", body))
        for jump_table in re.findall(r"BRANCH_TARGETS ([^\"]*)", body):
            named |= set(jump_table.split(","))
        places, at, after_calls = {}, 0, set()
        for line in body.splitlines():
            if label := re.match(r"([.$\w]+):", line):
                places[label[1]] = at
            elif re.search(r"/\*[0-9a-f]{4,}\*/ .*;", line):
                at += 1
                if "CALL" in line:
                    after_calls.add(at)
        expected = {places[name] for name in named if name in places} | after_calls
        assert branch_targets(instructions(image, kernel), kernel.jump_tables) == expected
        assert expected


def test_an_indirect_jump_without_table_may_land_anywhere() -> None:
    image = nvrtc_cubin(SWITCH, {})
    (kernel,) = functions(image)
    decoded = instructions(image, kernel)
    branches = {instruction.index for instruction in decoded if instruction.opcode == 0x949}
    assert branches == set(kernel.jump_tables) != set()
    assert branch_targets(decoded, {}) == set(range(len(decoded)))


def test_branches_forward_and_back() -> None:
    assert branch_targets(program([NOP, branch(1, 3), branch(2, 0), EXIT]), {}) == {0, 3}


def test_end_of_block() -> None:
    code = program([ffma(0, 1, 2, 0), NOP, ffma(3, 1, 2, 3), NOP, branch(4, 0), ffma(5, 1, 2, 5)])
    none: frozenset[int] = frozenset()
    assert [ends_block(code, index, none) for index in (0, 2, 5)] == [False, True, True]
    assert ends_block(code, 0, frozenset({1}))


@pytest.mark.parametrize(
    ("reader", "reads"),
    [
        (ffma(9, 40, 1, 2), True),
        (ffma(9, 1, 40, 2), True),
        (ffma(9, 1, 2, 40), True),
        (ffma(40, 1, 2, 3), False),
        (ffma(9, 39, 38, 37), False),
        (other(0x986, ra=2, rb=38), True),  # STG.128 stores R38 to R41
        (other(0x986, ra=2, rb=36), False),
        (other(0x844, ra=2, rb=40), True),  # STSM
        (other(0x802, rb=40), False),  # MOV of an immediate
        (other(0x890, ra=40, rb=40), False),  # UIADD3: uniform registers
    ],
)
def test_readers(reader: Word, reads: bool) -> None:
    assert read_soon(program([ffma(40, 41, 42, 40), *[NOP] * 7, reader]), 0) == reads
    assert not read_soon(program([ffma(40, 41, 42, 40), *[NOP] * 8, reader]), 0)


def test_readers_behind_a_branch() -> None:
    code = [ffma(9, 40, 1, 2), *[NOP] * 20, ffma(40, 41, 42, 40), branch(22, 0)]
    assert read_soon(program(code), 21)
    assert not read_soon(program([NOP] * 8 + code[8:]), 21)
