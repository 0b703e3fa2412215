"""The report of a patch as text and as JSON."""

import json
import re

import pytest
from sass_compile import promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, cubin, promotion

from nvgemm.errors import SassError
from nvgemm.sass import PATCHER_VERSION, policy
from nvgemm.sass.report import terminal
from nvgemm.sass.report.facts import facts
from nvgemm.sass.report.paint import pieces

WORDS = [WARPGROUP, *promotion(8), NOP, *promotion(8)[4:], *[NOP] * 8, EXIT]
UNIFORM_SCALE = [("result", "R1"), ("factor", "R2"), ("result", "R3")]
TWICE = [WARPGROUP, *promotion(8), *[NOP] * 8, WARPGROUP, *promotion(8), *[NOP] * 8, EXIT]


def test_text_of_a_handmade_kernel() -> None:
    raw = cubin({"k": WORDS})
    text = terminal.show(facts(raw, policy.apply(raw, "e2p1"), "e2p1"))
    lines = text.splitlines()
    assert lines[0] == "policy e2p1"
    assert "k: 23 instructions" in lines
    assert "run 1: 12 FFMAs from 0x0010, 1 other instruction between them" in lines
    first = " *    0  0x0010  B------:R-:W-:-:S01          B------:R-:W-:-:S01 reuse B  FFMA R0, R128, R100, R0"
    second = " *    1  0x0020  B------:R-:W-:-:S01          B------:R-:W-:Y:S01          FFMA R1, R129, R100, R1"
    assert f"{first}  ; keeps slot B for the next FFMA (rule 6)" in lines
    assert f"{second}  ; yields: position 1 of e2p1" in lines
    raw_strip, patched_strip = (line for line in lines if " given away  " in line)
    assert ", 0 given away  F" in raw_strip
    assert ", 5 given away  F" in patched_strip  # of six yields the last is not within the run
    assert "         0x0090  B------:R-:W-:-:S01          B------:R-:W-:-:S01          NOP" in lines
    assert "   FFMAs              12      12" in lines
    assert "   yields              0       6" in lines
    assert "   reuse flags         0       6" in lines
    assert "   stall 1            12      12" in lines
    assert "   changed words              12" in lines
    assert any(
        line.startswith("12 control words changed: 6 yields set, 0 yields cleared, 6 reuse set") for line in lines
    )


def test_colour_goes_to_registers_and_changes_alone() -> None:
    raw = cubin({"k": WORDS})
    content = facts(raw, policy.apply(raw, "e2p1"), "e2p1")
    plain, coloured = terminal.show(content), terminal.show(content, colour=True)
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain
    line = next(line for line in coloured.splitlines() if "0x0010  B" in line)
    assert "\x1b[33m\x1b[4mR100\x1b[0m" in line  # the scale, kept for reuse
    assert "\x1b[34mR0\x1b[0m" in line


def test_equal_runs_are_shown_once_or_in_full() -> None:
    raw = cubin({"k": TWICE})
    patched = policy.apply(raw, "s2e2")
    short, full = terminal.show(facts(raw, patched, "s2e2")), terminal.show(facts(raw, patched, "s2e2"), full=True)
    assert "run 2: 8 FFMAs from 0x0120; same control words as run 1" in short
    assert "same control words" not in full
    assert short.count("FFMA R3, ") == 1
    assert full.count("FFMA R3, ") == 2


def test_a_real_cubin() -> None:
    raw = promotion_cubin(128)
    patched = policy.apply(raw, "s2e2")
    content = facts(raw, patched, "s2e2")
    assert json.loads(json.dumps(content)) == content
    kernel = next(kernel for kernel in content["functions"] if kernel["name"] == "promotion")
    assert kernel["registers"] == 168
    assert [run["ffmas"] for run in kernel["runs"]] == [64] * 4
    assert sum(kernel["after"]["stalls"].values()) == sum(kernel["before"]["stalls"].values()) == kernel["ffmas"] == 256
    assert kernel["changed"] == content["summary"]["changed"]
    assert sum(line["changed"] for run in kernel["runs"] for line in run["lines"]) == kernel["changed"]
    assert kernel["after"]["yields"] - kernel["before"]["yields"] == -content["summary"]["yields_cleared"]
    assert content["patcher_version"] == PATCHER_VERSION
    text = terminal.show(facts(raw, patched, "s2e2"))
    assert " instructions, 168 registers\n" in text
    assert "no promotion runs, nothing to patch" in text  # the second kernel


def test_an_unpatched_cubin_is_shown_too() -> None:
    raw = promotion_cubin(64)
    assert "\n0 control words changed" in terminal.show(facts(raw, raw, "asis"))


def test_an_illegal_patch_is_refused() -> None:
    raw = cubin({"k": WORDS})
    with pytest.raises(SassError):
        terminal.show(facts(raw, raw[:-1], "none"))


@pytest.mark.parametrize(
    ("text", "painted"),
    [
        ("FFMA.RZ R1, R2, R3, R4", [("result", "R1"), ("factor", "R2"), ("scale", "R3"), ("result", "R4")]),
        (
            "@!P0 FFMA R1, R2, UR4, R3",
            [("predicate", "@!P0"), *UNIFORM_SCALE[:2], ("uniform", "UR4"), *UNIFORM_SCALE[2:]],
        ),
        ("FFMA R1, R2, c[0x0][0x4], R3", UNIFORM_SCALE),
        ("F2I.TRUNC.RZ R1, RZ", [("register", "R1"), ("register", "RZ")]),
    ],
)
def test_operands_are_painted_by_what_they_are(text: str, painted: list[tuple[str, str]]) -> None:
    """A way to round is no register, and a scale may be none."""
    assert [(role, token) for role, _, token in pieces(text, reuse=7) if role] == painted
    assert "".join(token for *_, token in pieces(text)) == text
