"""Code written for DeepGEMM's grouped products and torch runs unchanged, in both versions of its interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from test_deep_gemm_on_device import MAX_DIFF, MAX_DIFF_TO_BF16, deep_gemm, dequantised, torch  # noqa: F401

import nvgemm

pytestmark = pytest.mark.gpu

N, K = 1544, 2064
MS = (200, 0, 128, 37)
MMAX = 256


@pytest.fixture(autouse=True)
def _alignment(deep_gemm) -> Iterator[None]:  # noqa: F811
    yield
    deep_gemm.set_mk_alignment_for_contiguous_layout(128)


class Case:
    """Quantised tokens and weights of four groups, the layout of their rows, and a D that is full of ones."""

    def __init__(self, torch: Any, layout: str) -> None:  # noqa: F811
        from deep_gemm.utils import align, get_mk_alignment_for_contiguous_layout, per_token_cast_to_fp8

        starts = [0]
        for m in MS:
            starts.append(starts[-1] + align(m, get_mk_alignment_for_contiguous_layout()))
        self.torch, self.groups = torch, [slice(s, s + m) for s, m in zip(starts, MS, strict=False)]
        self.x = torch.randn((starts[-1], K), device="cuda", dtype=torch.bfloat16)
        self.w = torch.randn((len(MS), N, K), device="cuda", dtype=torch.bfloat16)
        self.valid = torch.zeros(starts[-1], dtype=torch.bool, device="cuda")
        indices = torch.full((starts[-1],), -1, dtype=torch.int32, device="cuda")
        for group, rows in enumerate(self.groups):
            self.valid[rows], indices[rows] = True, group
        ends = torch.tensor([rows.stop for rows in self.groups], dtype=torch.int32, device="cuda")
        self.layout = ends if layout == "psum" else indices
        self.a, self.b = per_token_cast_to_fp8(self.x, use_ue8m0=False), stacked(torch, self.w)
        self.d = torch.ones((starts[-1], N), device="cuda", dtype=torch.bfloat16)

    def check(self, padding: float) -> None:
        """Rows of groups against the quantised and the BF16 product; all elements of other rows are `padding`."""
        from deep_gemm.testing import calc_diff

        for group, rows in enumerate(self.groups):
            exact = dequantised((self.a[0][rows], self.a[1][rows]), 1)
            exact = exact @ dequantised((self.b[0][group], self.b[1][group]), 128).T
            assert calc_diff(self.d[rows], exact) < MAX_DIFF
            assert calc_diff(self.d[rows], self.x[rows] @ self.w[group].T) < MAX_DIFF_TO_BF16
        assert bool((self.d[~self.valid] == padding).all())


def stacked(torch: Any, w: Any) -> tuple[Any, Any]:  # noqa: F811
    from deep_gemm.utils import per_block_cast_to_fp8

    data, scales = zip(*(per_block_cast_to_fp8(each, use_ue8m0=False) for each in w), strict=True)
    data = torch.stack([each.view(torch.uint8) for each in data])
    return data.view(torch.float8_e4m3fn), torch.stack(scales)


def check_silent(recwarn: Any) -> None:
    assert not [each for each in recwarn if issubclass(each.category, nvgemm.PerformanceWarning)]


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("alignment", [64, 128])
def test_rows_that_name_their_groups(deep_gemm, torch, alignment, laid_out, recwarn):  # noqa: F811
    deep_gemm.set_mk_alignment_for_contiguous_layout(alignment)
    case = Case(torch, "contiguous")
    a = (case.a[0], deep_gemm.get_mn_major_tma_aligned_tensor(case.a[1])) if laid_out else case.a
    assert deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, case.b, case.d, case.layout, disable_ue8m0_cast=True) is None
    case.check(padding=1)
    turned = case.b[0].mT, case.b[1].mT
    again = torch.ones_like(case.d)
    deep_gemm.m_grouped_fp8_gemm_nn_contiguous(a, turned, again, case.layout)
    deep_gemm.testing.assert_bitwise_equal(again, case.d)
    check_silent(recwarn)


@pytest.mark.parametrize("ensure", [True, False])
def test_ends_of_groups(deep_gemm, torch, ensure):  # noqa: F811
    case = Case(torch, "psum")
    deep_gemm.m_grouped_fp8_fp4_gemm_nt_contiguous(
        case.a, case.b, case.d, case.layout, use_psum_layout=True, ensure_zero_padding=ensure,
        expected_m_for_psum_layout=100,
    )  # fmt: skip
    case.check(padding=0 if ensure else 1)


def test_a_program_for_version_1(deep_gemm, torch):  # noqa: F811
    from deep_gemm import get_col_major_tma_aligned_tensor

    assert deep_gemm.get_m_alignment_for_contiguous_layout() == 128
    case = Case(torch, "contiguous")
    a = case.a[0], get_col_major_tma_aligned_tensor(case.a[1])
    deep_gemm.m_grouped_gemm_fp8_fp8_bf16_nt_contiguous(a, case.b, case.d, case.layout)
    case.check(padding=1)


def masked(torch: Any) -> tuple[Any, ...]:  # noqa: F811
    """A, B, D full of ones, the counts, and A as [G · Mmax, K] in BF16."""
    from deep_gemm.utils import per_token_cast_to_fp8

    x = torch.randn((len(MS) * MMAX, K), device="cuda", dtype=torch.bfloat16)
    w = torch.randn((len(MS), N, K), device="cuda", dtype=torch.bfloat16)
    data, scales = per_token_cast_to_fp8(x, use_ue8m0=False)
    a = data.view(len(MS), MMAX, K), scales.view(len(MS), MMAX, -1)
    d = torch.ones((len(MS), MMAX, N), device="cuda", dtype=torch.bfloat16)
    return a, stacked(torch, w), d, torch.tensor(MS, dtype=torch.int32, device="cuda")


def check_masked(a: Any, b: Any, d: Any) -> None:
    from deep_gemm.testing import calc_diff

    for group, m in enumerate(MS):
        exact = dequantised((a[0][group, :m], a[1][group, :m]), 1)
        exact = exact @ dequantised((b[0][group], b[1][group]), 128).T
        assert calc_diff(d[group, :m], exact) < MAX_DIFF
        assert bool((d[group, m:] == 1).all())


@pytest.mark.parametrize("name", ["m_grouped_fp8_gemm_nt_masked", "m_grouped_gemm_fp8_fp8_bf16_nt_masked"])
@pytest.mark.parametrize("laid_out", [False, True])
def test_masked(deep_gemm, torch, laid_out, name, recwarn):  # noqa: F811
    a, b, d, counts = masked(torch)
    scales = deep_gemm.get_mn_major_tma_aligned_tensor(a[1]) if laid_out else a[1]
    if laid_out:
        assert scales.stride() == (a[1].shape[2] * MMAX, 1, MMAX)
    assert getattr(deep_gemm, name)((a[0], scales), b, d, counts, 100) is None
    check_masked(a, b, d)
    check_silent(recwarn)


@pytest.mark.parametrize("laid_out", [False, True])
def test_a_graph_with_other_counts(deep_gemm, torch, laid_out):  # noqa: F811
    a, b, d, counts = masked(torch)
    scales = deep_gemm.get_mn_major_tma_aligned_tensor(a[1]) if laid_out else a[1]
    deep_gemm.m_grouped_fp8_gemm_nt_masked((a[0], scales), b, d, counts, 100)
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        deep_gemm.m_grouped_fp8_gemm_nt_masked((a[0], scales), b, d, counts, 100)
    counts.zero_()
    d.fill_(1)
    graph.replay()
    assert bool((d == 1).all())
    counts.copy_(torch.tensor(MS))
    graph.replay()
    check_masked(a, b, d)


def test_the_timer_finds_the_kernel(deep_gemm, torch):  # noqa: F811
    from deep_gemm.testing import bench_kineto

    a, b, d, counts = masked(torch)
    scales = deep_gemm.get_mn_major_tma_aligned_tensor(a[1])
    for name in ("fp8_gemm", "gemm_"):
        seconds = bench_kineto(
            lambda: deep_gemm.m_grouped_fp8_gemm_nt_masked((a[0], scales), b, d, counts, 100),
            name, num_tests=3, flush_l2=False, suppress_kineto_output=True,
        )  # fmt: skip
        assert 1e-6 < seconds < 1e-3
