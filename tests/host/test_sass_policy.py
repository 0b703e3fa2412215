"""Policies by name, on handmade runs and on real cubins."""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sass_compile import BLOCK_N, POLICIES, disassemble, promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, Word, branch, cubin, ffma, promotion

from nvgemm.sass import policy
from nvgemm.sass.control import Control, instructions
from nvgemm.sass.cubin import functions
from nvgemm.sass.verify import Summary, verify


def controls(words: Sequence[Word], name: str, **options: Sequence[int]) -> list[Control]:
    """Control words of the FFMAs of one kernel after a policy."""
    image = cubin({"k": words}, **options)
    patched = policy.apply(image, name)
    verify(image, patched, name)
    (kernel,) = functions(patched)
    return [i.control for i in instructions(patched, kernel) if i.opcode & 0x1FF == 0x23]


@pytest.mark.parametrize(
    ("name", "count", "positions"),
    [
        ("none", 16, []),
        ("e1", 5, [0, 1, 2, 3, 4]),
        ("e2", 8, [0, 2, 4, 6]),
        ("e2p0", 8, [0, 2, 4, 6]),
        ("e2p1", 8, [1, 3, 5, 7]),
        ("e3p2", 9, [2, 5, 8]),
        ("s2e2", 8, [1, 3, 5, 7]),
        ("s2e4", 8, [3, 7]),
        ("s2e4p0", 8, [0, 4]),
        ("9_16", 16, [0, 2, 4, 6, 8]),
        ("9_16", 15, [0, 2, 4, 6]),
        ("hd4", 16, [0, 2]),
        ("hd32", 6, [0, 2, 4]),
        ("tl4", 16, [12, 14]),
        ("tl32", 6, [0, 2, 4]),
        ("s2e2-hd6", 16, [1, 3, 5]),
        ("e4-tl8", 16, [8, 12]),
        ("e3-1_2", 16, [0, 3, 6]),
    ],
)
def test_positions(name: str, count: int, positions: list[int]) -> None:
    assert list(policy.parse(name).positions(count)) == positions


@pytest.mark.parametrize(
    "name",
    [
        *("", "tuned", "E2", "e", "e0", "e2p2", "e2p", "s2", "hd", "hd0", "tl0", "0_2", "3_2", "9_"),
        *("e2hd8", "e2-", "-hd8", "e2-hd8-tl8"),
    ],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"SASS policy {name!r}: expected asis, none, e<K>p<P>")):
        policy.parse(name)


@pytest.mark.parametrize("name", ["s0e2", "s1e2", "s12e2"])
def test_stalls_without_encoding(name: str) -> None:
    with pytest.raises(ValueError, match="the stall must be 2 to 11 cycles"):
        policy.parse(name)


def test_reuse_is_set_where_the_next_ffma_reads_the_same_scale() -> None:
    found = controls([WARPGROUP, *promotion(16), *[NOP] * 8, EXIT], "none")
    assert [c.reuse for c in found] == [2, 2, 2, 0] * 4
    assert not any(c.yield_ for c in found)


def test_yield_takes_reuse_away() -> None:
    found = controls([WARPGROUP, *promotion(16), *[NOP] * 8, EXIT], "e2p1")
    assert [c.yield_ for c in found] == [False, True] * 8
    assert [c.reuse for c in found] == [2, 0] * 8


def test_stall_keeps_reuse() -> None:
    found = controls([WARPGROUP, *promotion(16), *[NOP] * 8, EXIT], "s2e2")
    assert [c.stall for c in found] == [1, 2] * 8
    assert [c.reuse for c in found] == [2, 2, 2, 0] * 4


def test_positions_pass_over_other_instructions() -> None:
    words = promotion(16)
    words[3:3] = [NOP, NOP, NOP]
    found = controls([WARPGROUP, *words, *[NOP] * 8, EXIT], "e2p0")
    assert [c.yield_ for c in found] == [True, False] * 8
    assert found[2].reuse == 0  # not adjacent to its user


def test_what_stays_as_it_is() -> None:
    words = [WARPGROUP, *promotion(16, yields=True), branch(17, 0), EXIT]
    words[3] = ffma(2, 130, 100, 2, predicate=0)
    words[6] = ffma(5, 133, 101, 5, stall=0, yields=True)
    words[9] = ffma(8, 136, 100, 8, stall=13, yields=True)
    words[12] = ffma(11, 139, 100, 11, yields=True, reuse=1)  # a batch marker
    found = controls(words, "none", relocated=[14])
    assert [position for position, c in enumerate(found) if c.yield_] == [5, 8, 11, 13, 15]
    assert found[1].reuse == found[2].reuse == 0  # a predicated FFMA neither keeps an operand nor is it a sure user


def test_a_result_that_is_read_soon_keeps_its_yield() -> None:
    words = [WARPGROUP, *promotion(16, yields=True), *[NOP] * 8, EXIT]
    words[8] = ffma(7, 2, 101, 7, yields=True)  # reads the result of position 2
    found = controls(words, "none")
    assert [position for position, c in enumerate(found) if c.yield_] == [2, 15]


def test_no_reuse_across_a_branch_target() -> None:
    found = controls([WARPGROUP, *promotion(16), *[NOP] * 8, branch(25, 3), EXIT], "none")
    assert [c.reuse for c in found[:4]] == [2, 0, 2, 0]  # instruction 3 is position 2


@pytest.mark.parametrize("block_n", BLOCK_N)
@pytest.mark.parametrize("name", POLICIES)
def test_real_cubins(block_n: int, name: str) -> None:
    raw = promotion_cubin(block_n)
    patched = policy.apply(raw, name)
    summary = verify(raw, patched, name)
    assert patched != raw or summary.changed == 0
    assert policy.apply(patched, name) == patched
    if not name.startswith("s"):
        assert summary.stalls_raised == 0
    else:
        assert summary.stalls_raised > 0
        assert summary.yields_set == 0


@pytest.mark.parametrize("name", [name for name in POLICIES if not name.startswith("s")])
def test_none_undoes_yields(name: str) -> None:
    later = ffma(200, 201, 202, 200, predicate=0)  # so that no FFMA of the run is the last of its block
    raw = cubin({"k": [WARPGROUP, *promotion(32), *[NOP] * 8, later, EXIT]})
    assert policy.apply(policy.apply(raw, name), "none") == policy.apply(raw, "none")


@pytest.mark.parametrize("block_n", BLOCK_N)
@pytest.mark.parametrize("name", ["e1", "e2p1", "9_16"])
def test_none_undoes_all_that_the_rules_let_it_add(block_n: int, name: str) -> None:
    """ptxas keeps operands across other instructions now and then; such a flag, once yielded away, stays away."""
    raw = promotion_cubin(block_n)
    expected, undone = policy.apply(raw, "none"), policy.apply(policy.apply(raw, name), "none")
    assert verify(expected, undone).changed <= block_n // 8
    assert verify(expected, undone).reuse_set == verify(expected, undone).yields_cleared == 0


@pytest.mark.parametrize("block_n", BLOCK_N)
def test_the_default_really_changes_the_code(block_n: int) -> None:
    raw = promotion_cubin(block_n)
    assert verify(raw, policy.apply(raw, "s2e2")).changed >= block_n // 2


def test_asis_and_cubins_without_promotion() -> None:
    raw = promotion_cubin(128)
    assert policy.apply(raw, "asis") == raw
    assert verify(raw, raw) == Summary()
    bare = cubin({"k": [*promotion(), EXIT]})
    assert policy.apply(bare, "e2p1") == bare


def test_nvdisasm_sees_the_same_program(tmp_path: Path) -> None:
    raw = promotion_cubin(112)
    expected = disassemble(raw, tmp_path, "-c").replace(".reuse", "")
    assert ".reuse" in disassemble(policy.apply(raw, "none"), tmp_path, "-c")
    patched = {policy.apply(raw, name) for name in POLICIES}
    with ThreadPoolExecutor(2) as pool:
        folders = [tmp_path / str(number) for number in range(len(patched))]
        for folder in folders:
            folder.mkdir()
        for text in pool.map(disassemble, patched, folders, ["-c"] * len(patched)):
            assert text.replace(".reuse", "") == expected


def test_patching_takes_milliseconds() -> None:
    raw, spent = promotion_cubin(128), []
    for _ in range(5):
        start = time.process_time()
        verify(raw, policy.apply(raw, "s2e2"))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05
