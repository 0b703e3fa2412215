"""What a report says of each control word: which policy asked for it, and which rule kept the patcher from more."""

import pytest
from sass_handmade import EXIT, NOP, WARPGROUP, Word, branch, cubin, ffma, promotion

from nvgemm.sass import policy
from nvgemm.sass.report.facts import facts

LOOP = [WARPGROUP, *promotion(8, yields=True), branch(9, 0), EXIT]
READ_SOON = [WARPGROUP, *promotion(8, yields=True), *promotion(4, yields=True), *[NOP] * 8, EXIT]


def why(words: list[Word], name: str, relocated: tuple[int, ...] = ()) -> list[str]:
    raw = cubin({"k": words}, relocated=relocated)
    (kernel,) = facts(raw, policy.apply(raw, name), name)["functions"]
    return [line["why"] for run in kernel["runs"] for line in run["lines"]]


def test_what_the_policy_asked_for() -> None:
    words = [WARPGROUP, *promotion(8, yields=True), *[NOP] * 8, EXIT]
    kept = "keeps slot B for the next FFMA (rule 6)"
    assert why(words, "s3e2")[:4] == [
        f"yields no more: s3e2 has no yield here; {kept}",
        f"stalls 3: position 1 of s3e2; yields no more: s3e2 has no yield here; {kept}",
        f"yields no more: s3e2 has no yield here; {kept}",
        "stalls 3: position 3 of s3e2; yields no more: s3e2 has no yield here",  # the next has the other scale
    ]
    plain = [WARPGROUP, *promotion(8, reuse=0), *[NOP] * 8, EXIT]
    assert why(plain, "e2")[:2] == ["yields: position 0 of e2", kept]
    reusing = [WARPGROUP, *promotion(3, reuse=2), *promotion(8)[3:], *[NOP] * 8, EXIT]
    assert why(reusing, "e1")[0] == "yields: position 0 of e1; keeps nothing while it yields (rule 4)"


def test_the_compilers_bytes_need_no_reason() -> None:
    assert set(why(LOOP, "asis")) == {""}


@pytest.mark.parametrize(
    ("words", "relocated", "position", "reason"),
    [
        (LOOP, (), 7, "goes on yielding: the last FFMA of its block (rule 8)"),
        (READ_SOON, (), 1, "goes on yielding: R1 is read within 8 instructions (rule 8)"),
        (LOOP, (3,), 2, "left alone: the loader rewrites it (rule 10)"),
        ([WARPGROUP, *promotion(8, stall=0, yields=True), EXIT], (), 2, "left alone: stall 0 has no other encoding"),
        ([WARPGROUP, *promotion(8, yields=True, reuse=1), *[NOP] * 8, EXIT], (), 2, "left alone: a batch marker"),
    ],
)
def test_what_a_rule_forbids(words: list[Word], relocated: tuple[int, ...], position: int, reason: str) -> None:
    assert why(words, "none", relocated)[position].startswith(reason)


def test_a_yield_that_the_policy_wants_needs_no_excuse() -> None:
    assert why(LOOP, "e1")[7] == ""


def test_instructions_between_have_none() -> None:
    words = [WARPGROUP, *promotion(8), NOP, *promotion(8)[4:], ffma(60, 2, 3, 60, predicate=1), *[NOP] * 8, EXIT]
    assert why(words, "e2")[8] == ""
