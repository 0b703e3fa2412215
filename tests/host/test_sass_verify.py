"""The verifier: a legal patch passes, and each rule broken alone is found and named."""

import struct
from collections.abc import Callable

import pytest
from sass_compile import promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, Word, branch, control, cubin, ffma, promotion

from nvgemm.errors import SassError
from nvgemm.sass import policy
from nvgemm.sass.control import NO_YIELD, REUSE_MASK, instructions
from nvgemm.sass.cubin import functions
from nvgemm.sass.runs import runs
from nvgemm.sass.verify import Summary, verify

CONTROL = REUSE_MASK | NO_YIELD | 15 << 41
PLAIN = [WARPGROUP, *promotion(16), *[NOP] * 8, EXIT]
YIELDING = [WARPGROUP, *promotion(16, yields=True), *[NOP] * 8, EXIT]


def edited(raw: bytes, index: int, change: Callable[[Word], Word]) -> bytes:
    """`raw` with one instruction of its first kernel changed."""
    at = functions(raw)[0].offset + 16 * index
    return raw[:at] + struct.pack("<QQ", *change(struct.unpack_from("<QQ", raw, at))) + raw[at + 16 :]


def controlled(**fields: int) -> Callable[[Word], Word]:
    """A change of the control word alone."""
    return lambda word: (word[0], word[1] & ~CONTROL | control(**fields) & CONTROL)


def flipped(bit: int) -> Callable[[Word], Word]:
    return lambda word: (word[0] ^ 1 << bit & 2**64 - 1, word[1] ^ (1 << bit >> 64))


def refusal(raw: bytes, patched: bytes) -> tuple[int | None, int | None]:
    with pytest.raises(SassError) as caught:
        verify(raw, patched)
    assert str(caught.value).endswith(f"; rule {caught.value.rule}")
    return caught.value.rule, caught.value.index


def test_legal_changes_are_counted() -> None:
    raw = cubin({"k": PLAIN})
    patched = edited(raw, 1, controlled(reuse=2))
    patched = edited(patched, 2, controlled(yields=True))
    patched = edited(patched, 6, controlled(stall=3, reuse=2))
    assert verify(raw, patched) == Summary(changed=3, yields_set=1, reuse_set=2, stalls_raised=1)
    back = Summary(changed=2, yields_cleared=1, reuse_cleared=1)
    assert verify(edited(edited(raw, 1, controlled(reuse=2)), 2, controlled(yields=True)), raw) == back


WITH_RESULT_READ = [WARPGROUP, *promotion(8), ffma(8, 2, 101, 8), *promotion(8)[4:], *[NOP] * 8, EXIT]
OVERWRITING = [WARPGROUP, *promotion(12), ffma(100, 140, 100, 12), ffma(13, 141, 100, 13), *[NOP] * 8, EXIT]
BATCHED = [WARPGROUP, *promotion(16, yields=True, reuse=2), *[NOP] * 8, EXIT]
# R60 is among the 64 that the tensor cores add to from R24 on: N = 128
SUMMED_UP = [WARPGROUP, *promotion(8, yields=True), ffma(60, 1, 2, 60, yields=True), *promotion(8)[4:]]
SUMMED_UP += [(0x79F3 | 24 << 16 | 15 << 53, 24 | control()), *[NOP] * 8, EXIT]
LOOP = [WARPGROUP, *promotion(16, yields=True), branch(17, 0), EXIT]


@pytest.mark.parametrize(
    ("rule", "words", "index", "change"),
    [
        (1, PLAIN, 3, flipped(24)),  # operand A
        (1, PLAIN, 3, flipped(32)),  # operand B, the scale
        (2, PLAIN, 3, flipped(64)),  # operand C
        (2, PLAIN, 3, flipped(125)),  # reserved
        (2, PLAIN, 3, flipped(103)),
        (3, PLAIN, 3, flipped(110)),  # write scoreboard
        (3, PLAIN, 3, flipped(113)),  # read scoreboard
        (3, PLAIN, 3, flipped(116)),  # wait mask
        (3, PLAIN, 19, controlled(stall=2)),  # NOP
        (3, [WARPGROUP, *promotion(8), ffma(9, 1, 2, 9, predicate=1)], 9, controlled(stall=2)),
        (3, [WARPGROUP, *promotion(8), ffma(9, 1, 2, 9, opcode=0x823)], 9, controlled(stall=2)),
        (4, PLAIN, 3, controlled(yields=True, reuse=1)),
        (4, PLAIN, 3, controlled(yields=True, reuse=2)),
        (4, BATCHED, 3, controlled(reuse=2)),  # the bits would keep an operand, which they did not
        (4, BATCHED, 3, controlled(yields=True)),
        (5, PLAIN, 3, controlled(stall=12)),
        (5, YIELDING, 3, controlled(stall=15)),
        (6, PLAIN, 4, controlled(reuse=2)),  # the next FFMA has the other scale
        (6, PLAIN, 3, controlled(reuse=1)),
        (6, PLAIN, 3, controlled(reuse=4)),
        (6, PLAIN, 3, controlled(reuse=6)),
        (6, PLAIN, 16, controlled(reuse=2)),  # the next is no FFMA
        (6, [WARPGROUP, *promotion(8)], 8, controlled(reuse=2)),  # nothing follows
        (6, [WARPGROUP, *promotion(5), ffma(5, 133, 101, 5, predicate=2)], 5, controlled(reuse=2)),
        (6, OVERWRITING, 13, controlled(reuse=2)),
        (7, [WARPGROUP, *promotion(16, stall=4), EXIT], 3, controlled(stall=3)),
        (7, [WARPGROUP, *promotion(16, stall=0, yields=True), EXIT], 3, controlled(stall=1, yields=True)),
        (8, LOOP, 16, controlled()),  # the last FFMA before the back-branch
        (8, [*WITH_RESULT_READ[:3], ffma(2, 130, 100, 2, yields=True), *WITH_RESULT_READ[4:]], 3, controlled()),
        (8, SUMMED_UP, 9, controlled()),
        (9, [*PLAIN[:-1], branch(25, 4), EXIT], 3, controlled(reuse=2)),
        (9, [*PLAIN[:-1], (0x7949, control()), EXIT], 3, controlled(reuse=2)),  # BRX may land anywhere
    ],
)
def test_each_rule_alone(rule: int, words: list[Word], index: int, change: Callable[[Word], Word]) -> None:
    raw = cubin({"k": words})
    assert refusal(raw, edited(raw, index, change)) == (rule, index)


def test_the_tensor_cores_add_to_as_many_registers_as_they_have_columns() -> None:
    """R60 is not among the 32 from R24 on that they add to with N = 64."""
    narrower = [(low ^ 8 << 53 if low & 0x1FF == 0x1F3 else low, high) for low, high in SUMMED_UP]  # 15 to 7
    raw = cubin({"k": narrower})
    assert verify(raw, edited(raw, 9, controlled())).yields_cleared == 1


def test_rule_1_outside_the_code() -> None:
    raw = cubin({"a": PLAIN, "b": PLAIN})
    first, second = functions(raw)
    end = second.offset + second.size
    for at in (20, first.offset - 1 if first.offset > 64 else 63, end, len(raw) - 1):
        assert refusal(raw, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]) == (1, None)
    assert refusal(raw, raw + b"\0") == (1, None)
    assert refusal(raw, raw[:-1]) == (1, None)


def test_rule_10_relocation() -> None:
    raw = cubin({"k": PLAIN}, relocated=[3])
    assert refusal(raw, edited(raw, 3, controlled(stall=2))) == (10, 3)
    verify(raw, edited(raw, 4, controlled(stall=2)))


def test_rule_10_architecture() -> None:
    raw = cubin({"k": PLAIN}, flags=0x6006402)
    assert refusal(raw, raw) == (10, None)


def test_rule_10_idempotence() -> None:
    raw = promotion_cubin(128)
    patched = policy.apply(raw, "e2p0")
    verify(raw, patched, "e2p0")
    with pytest.raises(SassError, match="patches its own result once more") as caught:
        verify(raw, patched, "e2p1")
    assert caught.value.rule == 10


def test_the_message_tells_place_and_change() -> None:
    raw = cubin({"k": PLAIN})
    change = "B------:R-:W-:-:S01 became B------:R-:W-:-:S00"
    message = f"k: instruction 3 (at 0x0030) waits for fewer cycles: {change}; rule 7"
    with pytest.raises(SassError) as caught:
        verify(raw, edited(raw, 3, controlled(stall=0)))
    assert str(caught.value) == message


@pytest.mark.parametrize("bit", range(128))
def test_every_bit_of_every_instruction_of_a_real_run(bit: int) -> None:
    """No flip outside yield, reuse and stall passes, nor any of an instruction between the FFMAs."""
    raw = promotion_cubin(64)
    kernel = next(kernel for kernel in functions(raw) if kernel.name == "promotion")
    run = runs(instructions(raw, kernel))[0]
    for index in range(run.start - 4, run.stop + 4):
        at = kernel.offset + 16 * index + bit // 8
        patched = raw[:at] + bytes([raw[at] ^ 1 << bit % 8]) + raw[at + 1 :]
        try:
            verify(raw, patched)
        except SassError as error:
            assert error.index == index  # noqa: PT017
        else:
            assert bit in (*range(105, 110), 122, 123, 124)
            assert index in run.ffmas
