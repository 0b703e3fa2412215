"""DeepGEMM's grouped products: what reaches nvgemm's, what is refused, and how scales and alignments get there."""

from __future__ import annotations

import numpy as np
import pytest
from test_deep_gemm import Matrix

import nvgemm
from nvgemm import deep_gemm
from nvgemm.runtime import arrays

M, N, K, G, MMAX = 256, 576, 2048, 4, 64
MIB = 1 << 20


def operands(outer: tuple[int, ...], k_major: bool = False) -> tuple:
    """A, B, D and the layout of the groups, of which A has one [M, K] or one for each group."""
    m, k_blocks = outer[-1], K // 128
    strides = None if k_major else (*(k_blocks * m for _ in outer[:-1]), 1, m)
    a = Matrix(MIB, (*outer, K)), Matrix(4 * MIB, (*outer, k_blocks), strides, "float32")
    b = Matrix(8 * MIB, (G, N, K)), Matrix(16 * MIB, (G, 5, k_blocks), None, "float32")
    layout = Matrix(24 * MIB, (G if len(outer) == 2 else m,), None, "int32")
    return a, b, Matrix(32 * MIB, (*outer, N), None, "bfloat16"), layout


A, B, D, INDICES = operands((M,))
MASKED = operands((G, MMAX))
ENDS = Matrix(24 * MIB, (G,), None, "int32")
LAID_OUT = "scales that are laid out"
DEFAULTS = {
    "recipe": (1, 128, 128),
    "use_psum_layout": False,
    "zero_padding": False,
    "alignment": 128,
    "expected_m": None,
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What reaches nvgemm, in order; every kernel is ready."""
    made: list[tuple] = []
    monkeypatch.setitem(arrays._doors, Matrix, lambda x, name: x)
    for name in ("m_grouped_fp8_gemm_nt_contiguous", "m_grouped_fp8_gemm_nt_masked"):
        monkeypatch.setattr(
            nvgemm, name, lambda *args, name=name, **options: made.append((name, args, options)) or args[2]
        )
    monkeypatch.setattr(
        nvgemm, "get_mn_major_tma_aligned_tensor", lambda sf, stream: made.append(("transpose", sf, stream)) or LAID_OUT
    )
    ready = lambda problem, *_: made.append(("ready", problem))  # noqa: E731
    monkeypatch.setattr(deep_gemm.row_scales, "ready_kernel", ready)
    return made


def test_contiguous_reaches_nvgemm_and_none_comes_back(calls):
    assert deep_gemm.m_grouped_fp8_gemm_nt_contiguous(A, B, D, INDICES) is None
    assert deep_gemm.m_grouped_gemm_fp8_fp8_bf16_nt_contiguous(A, B, D, INDICES) is None
    assert calls == [("m_grouped_fp8_gemm_nt_contiguous", (A, B, D, INDICES), DEFAULTS)] * 2


def test_masked_reaches_nvgemm_and_none_comes_back(calls):
    a, b, d, counts = MASKED
    assert deep_gemm.m_grouped_fp8_gemm_nt_masked(a, b, d, counts, np.int64(20)) is None
    assert deep_gemm.fp8_m_grouped_gemm_nt_masked(a, b, d, counts, 20, disable_ue8m0_cast=True) is None
    assert deep_gemm.m_grouped_gemm_fp8_fp8_bf16_nt_masked(a, b, d, counts, 20) is None
    assert calls == [("m_grouped_fp8_gemm_nt_masked", (a, b, d, counts, 20), {"recipe": (1, 128, 128)})] * 3


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"ensure_zero_padding": True}, {"zero_padding": True}),
        ({"ensure_zero_padding": False}, {}),
        ({}, {"zero_padding": True}),
        ({"expected_m_for_psum_layout": 40}, {"zero_padding": True, "expected_m": 40}),
    ],
)
def test_ends_of_groups(calls, options, changed):
    deep_gemm.m_grouped_fp8_gemm_nt_contiguous(A, B, D, ENDS, use_psum_layout=True, **options)
    ((_, operands, given),) = calls
    assert operands == (A, B, D, ENDS)
    assert given == {**DEFAULTS, "use_psum_layout": True, **changed}


def test_rows_of_nobody_are_left_alone_where_rows_name_their_groups(calls):
    for ensure in (True, False):
        deep_gemm.m_grouped_fp8_gemm_nt_contiguous(A, B, D, INDICES, ensure_zero_padding=ensure)
    assert [options["zero_padding"] for _, _, options in calls] == [False, False]


def test_transposed_b_is_turned_back(calls):
    turned = tuple(each.swapaxes(-1, -2) for each in B)
    assert deep_gemm.m_grouped_fp8_gemm_nn_contiguous(A, turned, D, INDICES) is None
    deep_gemm.m_grouped_fp8_fp4_gemm_nn_contiguous(A, turned, D, ENDS, use_psum_layout=True, ensure_zero_padding=False)
    assert [operands[:3] for _, operands, _ in calls] == [(A, B, D)] * 2


def test_the_alignment_is_that_of_all_calls(calls):
    assert deep_gemm.get_m_alignment_for_contiguous_layout() == 128
    deep_gemm.set_mk_alignment_for_contiguous_layout(32)
    try:
        assert deep_gemm.get_mk_alignment_for_contiguous_layout() == 32
        assert nvgemm.get_mk_alignment_for_contiguous_layout() == 32
        deep_gemm.m_grouped_fp8_gemm_nt_contiguous(A, B, D, INDICES)
    finally:
        deep_gemm.set_mk_alignment_for_contiguous_layout(128)
    assert calls[0][2]["alignment"] == 32
    with pytest.raises(ValueError, match="got 256"):
        deep_gemm.set_mk_alignment_for_contiguous_layout(256)


def test_the_least_alignment_worth_having():
    least = deep_gemm.get_theoretical_mk_alignment_for_contiguous_layout
    assert least() == 128
    assert least(20) == nvgemm.get_theoretical_mk_alignment_for_contiguous_layout(20)
    assert least(expected_m=5120, num_groups=256) == least(20)
    assert least(1) <= 64
    with pytest.raises(TypeError, match=r"expected_m: expected an int"):
        least(20.5)


def test_k_major_scales_are_laid_out_without_a_warning(calls, recwarn):
    for outer in ((M,), (G, MMAX)):
        a, b, d, layout = operands(outer, k_major=True)
        if len(outer) == 1:
            deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, b, d, layout)
        else:
            deep_gemm.m_grouped_fp8_gemm_nt_masked(a, b, d, layout, 20)
        (ready, problem), transposed, (_, given, _) = calls
        assert (ready, problem.sfa_mn_major, problem.m) == ("ready", True, outer[-1])
        assert transposed == ("transpose", a[1], 0)
        assert given[:4] == ((a[0], LAID_OUT), b, d, layout)
        calls.clear()
    assert not recwarn.list


def test_nothing_is_laid_out_for_a_product_that_is_refused(calls):
    a, b, d, _ = operands((M,), k_major=True)
    with pytest.raises(TypeError, match=r"^grouped_layout: expected int32, got int64"):
        deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, b, d, Matrix(24 * MIB, (M,), None, "int64"))
    with pytest.raises(ValueError, match=r"^d: expected shape"):
        deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, b, MASKED[2], INDICES)
    assert not calls


def test_nothing_is_laid_out_where_there_is_nothing_to_multiply(calls):
    none = Matrix(0, (0, K)), Matrix(0, (0, 16), None, "float32")
    layout, d = Matrix(0, (0,), None, "int32"), Matrix(0, (0, N), None, "bfloat16")
    deep_gemm.m_grouped_fp8_gemm_nt_contiguous(none, B, d, layout)
    assert [call[0] for call in calls] == ["m_grouped_fp8_gemm_nt_contiguous"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"d": None}, TypeError, r"^d: expected a BF16 tensor, got None; nvgemm\.m_grouped_\w+ allocates one"),
        ({"recipe": (1, 1, 128)}, NotImplementedError, r"deep_gemm\.m_grouped_fp8_gemm_nt_\w+: recipe \(1, 1, 128\)"),
        ({"recipe_a": (1, 128)}, ValueError, r"^recipe: expected recipe alone, or recipe_a and recipe_b together"),
        ({"recipe_a": (1, 128), "recipe_b": (128, 32)}, ValueError, r"K must be split alike"),
        ({"compiled_dims": "nkx"}, ValueError, r"^compiled_dims: expected letters of 'mnk', got 'nkx'"),
        ({"a": A[0]}, TypeError, r"^a: expected a pair \(data, scales\), got a bare"),
    ],
)
def test_refusals(calls, change, error, message):
    for function, operands, names in (
        (deep_gemm.m_grouped_fp8_gemm_nt_contiguous, (A, B, D, INDICES), ("a", "b", "d", "grouped_layout")),
        (deep_gemm.m_grouped_fp8_gemm_nt_masked, (*MASKED, 20), ("a", "b", "d", "masked_m", "expected_m")),
    ):
        with pytest.raises(error, match=message):
            function(**{**dict(zip(names, operands, strict=True)), **change})
    assert not calls


def test_refusals_of_the_expected_number(calls):
    contiguous, masked = deep_gemm.m_grouped_fp8_gemm_nt_contiguous, deep_gemm.m_grouped_fp8_gemm_nt_masked
    with pytest.raises(ValueError, match=r"^expected_m_for_psum_layout: expected None without use_psum_layout, got 40"):
        contiguous(A, B, D, INDICES, expected_m_for_psum_layout=40)
    with pytest.raises(ValueError, match=r"^expected_m_for_psum_layout: .*got 0"):
        contiguous(A, B, D, ENDS, use_psum_layout=True, expected_m_for_psum_layout=0)
    with pytest.raises(ValueError, match=r"^expected_m: expected an int, 1 or more, got 0"):
        masked(*MASKED, 0)
    with pytest.raises(TypeError, match=r"^expected_m: expected an int, 1 or more, got None"):
        masked(*MASKED, None)
    assert not calls


def test_scales_of_groups(monkeypatch):
    """Block scales as they are, row scales through nvgemm; shapes are checked in both."""
    seen = []
    monkeypatch.setattr(nvgemm, "get_mn_major_tma_aligned_tensor", lambda sf: seen.append(sf) or LAID_OUT)
    required = deep_gemm.transform_sf_into_required_layout
    rows, blocks = MASKED[0][1], B[1]
    assert required(rows, MMAX, K, (1, 128, 128), num_groups=G, is_sfa=True) == LAID_OUT
    assert required(rows, MMAX, K, (1, 128), num_groups=G, psum_layout=ENDS) == LAID_OUT
    assert required(blocks, N, K, (1, 128, 128), G, False) is blocks
    assert deep_gemm.get_mn_major_tma_aligned_tensor(rows) == LAID_OUT
    assert seen == [rows] * 3
    with pytest.raises(ValueError, match=r"^sf: expected shape \(3, 5, 16\) .*got \(4, 5, 16\)"):
        required(blocks, N, K, (128, 128), 3)
    with pytest.raises(ValueError, match=r"^recipe: scales are for 1×128 or 128×128 elements, got 64×128"):
        required(blocks, N, K, (64, 128), G)
