"""Counts of what kernels are made of, what each policy would change, and how two kernels differ."""

import json

import pytest
from sass_compile import disassemble, nvrtc_cubin, promotion_cubin
from sass_handmade import EXIT, NOP, WARPGROUP, cubin, other, promotion

from nvgemm.errors import SassError
from nvgemm.sass import policy
from nvgemm.sass.report import catalogue, difference, statistics
from nvgemm.sass.verify import verify

WORDS = [WARPGROUP, *promotion(8, reuse=0), *[NOP] * 8, EXIT]
INDEXED = """
extern "C" __global__ void __launch_bounds__(1024, 2) local(float* x, int step) {
    float v[96];
    for (int i = 0; i < 96; ++i) v[i] = x[i * 1024 + threadIdx.x];
    for (int i = 0; i < 96; ++i) x[i * 1024 + threadIdx.x] = v[i] * v[i * step % 96] + v[95 - i];
}
"""


def test_counts_of_a_handmade_kernel() -> None:
    (kernel,) = statistics.statistics(cubin({"k": WORDS}))
    assert kernel["instructions"] == len(WORDS)
    assert kernel["opcodes"] == {"FFMA": 8, "NOP": 8, "WARPGROUP": 1, "EXIT": 1}
    assert kernel["runs"] == [8]
    assert kernel["ffma"] == {"yields": 0, "reuse": 0, "stalls": {"1": 8}}
    assert (kernel["tensor_core"], kernel["ffmas"], kernel["local_loads"]) == (0, 8, 0)


def test_ffmas_beside_instructions_of_the_tensor_cores() -> None:
    tensor_core = other(0x9F3)
    (kernel,) = statistics.statistics(cubin({"k": [*WORDS[:-1], tensor_core, tensor_core, tensor_core, EXIT]}))
    assert (kernel["tensor_core"], kernel["ffmas_per_tensor_core"]) == (3, 2.67)
    (kernel,) = statistics.statistics(cubin({"k": WORDS}))
    assert kernel["ffmas_per_tensor_core"] is None


def test_counts_of_a_real_kernel_agree_with_nvdisasm(tmp_path) -> None:  # type: ignore[no-untyped-def]
    image = promotion_cubin(128)
    listing = disassemble(image, tmp_path, "-c").split(".text.")
    for kernel in statistics.statistics(image):
        text = next(part for part in listing if part.startswith(kernel["name"] + ":"))
        for name in ("QGMMA", "FFMA", "LDS", "SYNCS", "BRA", "WARPGROUP"):
            assert kernel["opcodes"].get(name, 0) == sum(f" {name}" in line.split(";")[0] for line in text.splitlines())
        assert kernel["tensor_core"] == kernel["opcodes"].get("QGMMA", 0)


def test_accesses_of_local_memory_are_counted() -> None:
    (kernel,) = statistics.statistics(nvrtc_cubin(INDEXED.encode(), {}))
    assert kernel["local_loads"] > 0
    assert kernel["local_stores"] > 0


def test_text_has_both_sides() -> None:
    raw = cubin({"k": WORDS})
    text = statistics.as_text(statistics.statistics(raw), statistics.statistics(policy.apply(raw, "e2")))
    assert any(line.split() == ["yields", "of", "FFMAs", "0", "4"] for line in text.splitlines())
    assert "promotion runs  1 × 8" in text


def test_the_catalogue_is_what_applying_each_would_do() -> None:
    raw = promotion_cubin(112)
    rows = catalogue.catalogue(raw, "e4-hd32")
    assert [row["policy"] for row in rows] == ["e4-hd32", *catalogue.POLICIES]
    for row in rows:
        assert row["changed"] == verify(raw, policy.apply(raw, row["policy"])).changed
        assert row["refusal"] is None
    named = {row["policy"]: row for row in rows}
    assert named["asis"]["changed"] == 0
    assert named["none"]["yields"] < named["e4"]["yields"] < named["e2"]["yields"]
    assert named["none"]["cycles"] < named["e4"]["cycles"] < named["e2"]["cycles"]
    assert "\nnone " in catalogue.as_text(rows)
    assert "e4-hd32: the kernel's own" in catalogue.as_text(rows)
    assert [row["policy"] for row in catalogue.catalogue(raw, "s2e4")].count("s2e4") == 1


def test_the_catalogue_tells_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(raw: bytes, patched: bytes, name: str | None = None) -> object:
        if name == "e2":
            raise SassError("k: broken; rule 6", rule=6, index=3)
        return verify(raw, patched, name)

    monkeypatch.setattr(catalogue, "verify", refuse)
    text = catalogue.as_text(catalogue.catalogue(cubin({"k": WORDS}), "asis"))
    assert "e2 is refused: k: broken; rule 6" in text


def test_no_cubin_is_told_before_any_policy_is_blamed() -> None:
    for function in (
        lambda image: catalogue.catalogue(image, "e2"),
        statistics.statistics,
        lambda image: difference.difference(image, image),
    ):
        with pytest.raises(SassError, match="not an ELF file"):
            function(b"junk")


def test_a_patch_differs_in_control_words_alone() -> None:
    raw = promotion_cubin(128)
    patched = policy.apply(raw, "s2e2")
    facts = difference.difference(raw, patched)
    assert json.loads(json.dumps(facts)) == facts
    kernels = {kernel["a"]: kernel for kernel in facts["functions"]}
    assert sum(len(kernel["control"]) for kernel in kernels.values()) == verify(raw, patched).changed
    assert not any(kernel["code"] for kernel in kernels.values())
    assert facts["only_a"] == facts["only_b"] == []


def test_operands_that_one_side_lacks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    hints = iter((None, "nvdisasm refuses B"))
    monkeypatch.setattr(difference, "operands", lambda image: ({}, next(hints)))
    raw = cubin({"k": WORDS})
    assert difference.as_text(difference.difference(raw, raw)).endswith("\n\nnvdisasm refuses B")


def test_moved_code_is_no_difference() -> None:
    a = cubin({"k": WORDS})
    b = cubin({"k": [WARPGROUP, other(0x213), *WORDS[1:4], *WORDS[5:]]})
    (kernel,) = difference.difference(a, b)["functions"]
    assert kernel["same"] == len(WORDS) - 1
    assert [(len(row["a"]), len(row["b"])) for row in kernel["code"]] == [(0, 1), (1, 0)]
    text = difference.as_text(difference.difference(a, b))
    assert " - 0x0040  FFMA R3, R131, R100, R3" in text
    assert " + 0x0010  0x213" in text


def test_long_code_that_repeats_itself_is_compared_at_once_or_refused() -> None:
    """To align 16,000 like instructions with as many took 25 s, 64,000 minutes."""
    begins = [other(0x213), *[NOP] * 64_000]
    (kernel,) = difference.difference(cubin({"k": [*begins, EXIT]}), cubin({"k": [*begins, NOP, EXIT]}))["functions"]
    assert (kernel["same"], len(kernel["code"])) == (64_002, 1)
    a, b = ([other(name), *[NOP] * 5_000, other(name)] for name in (0x213, 0x214))
    with pytest.raises(SassError, match="too repetitive to be aligned: 25000000 pairs"):
        difference.difference(cubin({"k": a}), cubin({"k": b}))


def test_kernels_are_paired_by_name_unless_each_is_alone() -> None:
    a, b = cubin({"x": WORDS, "y": WORDS}), cubin({"y": WORDS, "z": WORDS})
    facts = difference.difference(a, b)
    assert (facts["only_a"], facts["only_b"]) == (["x"], ["z"])
    assert [kernel["a"] for kernel in facts["functions"]] == ["y"]
    assert "A alone: x" in difference.as_text(facts)
    (pair,) = difference.difference(cubin({"x": WORDS}), cubin({"z": WORDS}))["functions"]
    assert (pair["a"], pair["b"]) == ("x", "z")
