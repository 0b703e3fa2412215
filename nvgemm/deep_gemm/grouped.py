"""Grouped FP8 products with DeepGEMM's signatures: its arguments to those of nvgemm's, refusals by name."""

from __future__ import annotations

from typing import Any

import nvgemm
from nvgemm.choice import checks
from nvgemm.choice.grouped_checks import Grouped
from nvgemm.choice.problem import Grouping
from nvgemm.deep_gemm.arguments import Pair, Recipe, check_compiled_dims, one_recipe, turned, whole
from nvgemm.deep_gemm.row_scales import laid_out

__all__ = [
    "fp8_m_grouped_gemm_nt_masked",
    "m_grouped_fp8_fp4_gemm_nn_contiguous",
    "m_grouped_fp8_fp4_gemm_nt_contiguous",
    "m_grouped_fp8_fp4_gemm_nt_masked",
    "m_grouped_fp8_gemm_nn_contiguous",
    "m_grouped_fp8_gemm_nt_contiguous",
    "m_grouped_fp8_gemm_nt_masked",
    "m_grouped_gemm_fp8_fp8_bf16_nt_contiguous",
    "m_grouped_gemm_fp8_fp8_bf16_nt_masked",
]

_CONTIGUOUS, _MASKED = "m_grouped_fp8_gemm_nt_contiguous", "m_grouped_fp8_gemm_nt_masked"


def m_grouped_fp8_gemm_nt_contiguous(
    a: Pair,
    b: Pair,
    d: Any,
    grouped_layout: Any,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "nk",
    disable_ue8m0_cast: bool = False,
    use_psum_layout: bool = False,
    ensure_zero_padding: bool = True,
    expected_m_for_psum_layout: int | None = None,
) -> None:
    """Write each row of A times the B of its group to `d`, in the order of the current stream.

    Parameters
    ----------
    a : (data, scales)
        E4M3 [M, K], K contiguous, and FP32 [M, ceil(K/128)], K-major or MN-major, as for `fp8_gemm_nt`.
    b : (data, scales)
        E4M3 [G, N, K], K contiguous, and FP32 [G, ceil(N/128), ceil(K/128)].
    d : tensor
        BF16 [M, N], N contiguous.
    grouped_layout : tensor
        int32 on the device. [M]: the group of each row, −1 for rows of nobody; groups begin on multiples of
        `get_mk_alignment_for_contiguous_layout`. With `use_psum_layout` [G]: the row after the last of each group.
    recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast
        As for `fp8_gemm_nt`.
    ensure_zero_padding : bool
        With `use_psum_layout`: write zeros to the rows of nobody, whatever A holds there. False leaves them as they
        are, and so does, as in DeepGEMM, the other layout in any case.
    expected_m_for_psum_layout : int, optional
        Rows of a group, about; only with `use_psum_layout`. Results do not depend on it.

    Raises
    ------
    NotImplementedError
        DeepGEMM has it, on some GPU or in another recipe, and it is missing here; the message says what.
    ValueError, TypeError
        An operand cannot be used; the product has not been launched.
    """
    chosen = one_recipe(_CONTIGUOUS, recipe, recipe_a, recipe_b)
    _check(_CONTIGUOUS, d, compiled_dims)
    if expected_m_for_psum_layout is not None and not use_psum_layout:
        raise ValueError(
            "expected_m_for_psum_layout: expected None without use_psum_layout, "
            f"got {expected_m_for_psum_layout}; the rows name their groups"
        )
    expected = _expected(expected_m_for_psum_layout)
    alignment = nvgemm.get_mk_alignment_for_contiguous_layout()
    grouped = Grouped(Grouping.PSUM if use_psum_layout else Grouping.CONTIGUOUS, alignment, expected, chosen)
    nvgemm.m_grouped_fp8_gemm_nt_contiguous(
        laid_out((*checks.operands(a, b, d), grouped_layout), grouped.check, grouped.names),
        b,
        d,
        grouped_layout,
        recipe=chosen,
        use_psum_layout=bool(use_psum_layout),
        zero_padding=bool(use_psum_layout and ensure_zero_padding),
        alignment=alignment,
        expected_m=expected,
    )


def m_grouped_fp8_gemm_nn_contiguous(
    a: Pair,
    b: Pair,
    d: Any,
    grouped_layout: Any,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "nk",
    disable_ue8m0_cast: bool = False,
    use_psum_layout: bool = False,
    ensure_zero_padding: bool = True,
) -> None:
    """`m_grouped_fp8_gemm_nt_contiguous` with B as [G, K, N], its scales likewise; K is contiguous all the same."""
    b = turned(b, "b")
    m_grouped_fp8_gemm_nt_contiguous(
        a, b, d, grouped_layout, recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast, use_psum_layout,
        ensure_zero_padding,
    )  # fmt: skip


def m_grouped_fp8_gemm_nt_masked(
    a: Pair,
    b: Pair,
    d: Any,
    masked_m: Any,
    expected_m: int,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "nk",
    disable_ue8m0_cast: bool = False,
) -> None:
    """Write the first rows of each group's A, times its B, to its `d`, in the order of the current stream.

    Parameters
    ----------
    a : (data, scales)
        E4M3 [G, Mmax, K], K contiguous, and FP32 [G, Mmax, ceil(K/128)], K-major or MN-major.
    b : (data, scales)
        E4M3 [G, N, K], K contiguous, and FP32 [G, ceil(N/128), ceil(K/128)].
    d : tensor
        BF16 [G, Mmax, N], N contiguous. Rows from the count of their group on are left as they are.
    masked_m : tensor
        int32 [G] on the device: rows of each group.
    expected_m : int
        Rows of a group, about. Results do not depend on it.
    recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast
        As for `fp8_gemm_nt`.

    Raises
    ------
    NotImplementedError, ValueError, TypeError
        As `m_grouped_fp8_gemm_nt_contiguous`.
    """
    chosen = one_recipe(_MASKED, recipe, recipe_a, recipe_b)
    _check(_MASKED, d, compiled_dims)
    expected = _positive("expected_m", expected_m, "an int, 1 or more")
    grouped = Grouped(Grouping.MASKED, 1, expected, chosen)
    a = laid_out((*checks.operands(a, b, d), masked_m), grouped.check, grouped.names)
    nvgemm.m_grouped_fp8_gemm_nt_masked(a, b, d, masked_m, expected, recipe=chosen)


m_grouped_fp8_fp4_gemm_nt_contiguous = m_grouped_fp8_gemm_nt_contiguous
m_grouped_fp8_fp4_gemm_nn_contiguous = m_grouped_fp8_gemm_nn_contiguous
m_grouped_fp8_fp4_gemm_nt_masked = fp8_m_grouped_gemm_nt_masked = m_grouped_fp8_gemm_nt_masked


def m_grouped_gemm_fp8_fp8_bf16_nt_contiguous(lhs: Pair, rhs: Pair, out: Any, m_indices: Any) -> None:
    """`m_grouped_fp8_gemm_nt_contiguous` as version 1 called it; rows of nobody are left as they are."""
    m_grouped_fp8_gemm_nt_contiguous(lhs, rhs, out, m_indices, ensure_zero_padding=False)


def m_grouped_gemm_fp8_fp8_bf16_nt_masked(lhs: Pair, rhs: Pair, out: Any, masked_m: Any, expected_m: int) -> None:
    """`m_grouped_fp8_gemm_nt_masked` as version 1 called it."""
    m_grouped_fp8_gemm_nt_masked(lhs, rhs, out, masked_m, expected_m)


def _check(function: str, d: Any, compiled_dims: str) -> None:
    if d is None:
        raise TypeError(f"d: expected a BF16 tensor, got None; nvgemm.{function} allocates one")
    check_compiled_dims(compiled_dims)


def _expected(rows: int | None) -> int | None:
    return None if rows is None else _positive("expected_m_for_psum_layout", rows, "an int, 1 or more, or None")


def _positive(name: str, value: int, rule: str) -> int:
    rows = whole(name, value, rule)
    if rows < 1:
        raise ValueError(f"{name}: expected {rule}, got {rows}")
    return rows
