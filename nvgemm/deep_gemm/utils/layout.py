"""Layouts of scales, and the alignment of groups, by DeepGEMM's names."""

from __future__ import annotations

from typing import Any

import nvgemm
from nvgemm.choice.problem import GRANULARITY, ceil_div
from nvgemm.deep_gemm import refused
from nvgemm.deep_gemm.arguments import whole, whole_numbers

_missing = refused.functions("utils.layout")
globals().update(_missing)

__all__ = [
    "get_col_major_tma_aligned_tensor",
    "get_k_alignment_for_contiguous_layout",
    "get_m_alignment_for_contiguous_layout",
    "get_mk_alignment_for_contiguous_layout",
    "get_mn_major_tma_aligned_tensor",
    "get_theoretical_mk_alignment_for_contiguous_layout",
    "get_tma_aligned_size",
    "set_mk_alignment_for_contiguous_layout",
    "transform_sf_into_required_layout",
    *_missing,
]


def get_tma_aligned_size(mn: int, element_size: int) -> int:
    """Elements that `mn` of them, `element_size` bytes each, take when padded to whole 16-byte units."""
    return nvgemm.get_tma_aligned_size(mn, element_size)


def get_mn_major_tma_aligned_tensor(sf: Any) -> Any:
    """FP32 scales [MN, ceil(K/128)] with strides ``(1, align(MN, 4))``: `sf` itself where it lies so, else a copy.

    Or [G, MN, ceil(K/128)], each group laid out like that, one after the other.
    """
    return nvgemm.get_mn_major_tma_aligned_tensor(sf)


get_col_major_tma_aligned_tensor = get_mn_major_tma_aligned_tensor  # version 1


def transform_sf_into_required_layout(
    sf: Any,
    mn: int,
    k: int,
    recipe: tuple[int, ...],
    num_groups: int | None = None,
    is_sfa: bool | None = None,
    disable_ue8m0_cast: bool = False,
    psum_layout: Any = None,
) -> Any:
    """Scales in the layout that the product reads fastest; block scales are returned as they are.

    Parameters
    ----------
    sf : tensor
        FP32 [ceil(mn/rows), ceil(k/128)], where `rows` of the data share a scale, or that for each group.
    mn, k : int
        Shape of the data that the scales belong to.
    recipe : (int, int, int) or (int, int)
        Rows of A, rows of B and elements of K to a scale, of which `is_sfa` picks one side; or (rows, elements of K).
    num_groups : int, optional
        Groups that `sf` has scales for, [num_groups, …]; None where it has no such dimension.
    disable_ue8m0_cast, psum_layout
        Without effect on Hopper, as in DeepGEMM.
    """
    recipe = whole_numbers("recipe", recipe, (2, 3), "two or three ints")
    if len(recipe) == 2:
        if is_sfa is not None:
            raise ValueError(f"is_sfa: a recipe for one side, {recipe}, takes None, got {is_sfa}")
        recipe = recipe[0], *recipe
    rows_a, rows_b, columns = recipe
    if num_groups is not None:
        rows = rows_a if is_sfa else rows_b
        return _of_groups(sf, (whole("num_groups", num_groups, "an int"), mn, k), rows, columns)
    return nvgemm.transform_sf_into_required_layout(sf, mn, k, (rows_a, rows_b, columns), is_sfa=bool(is_sfa))


def _of_groups(sf: Any, sizes: tuple[int, int, int], rows: int, columns: int) -> Any:
    """`transform_sf_into_required_layout` for [groups, …], with `rows` × `columns` of the data to a scale."""
    groups, mn, k = sizes
    if columns != GRANULARITY or rows not in (1, GRANULARITY):
        raise ValueError(f"recipe: scales are for 1×128 or 128×128 elements, got {rows}×{columns}")
    expected = (groups, ceil_div(mn, rows), ceil_div(k, columns))
    if tuple(sf.shape) != expected:
        raise ValueError(f"sf: expected shape {expected} for {groups} groups of {mn} × {k}, got {tuple(sf.shape)}")
    return sf if rows == GRANULARITY else get_mn_major_tma_aligned_tensor(sf)


def set_mk_alignment_for_contiguous_layout(new_value: int) -> None:
    """Let groups begin at multiples of so many rows in all grouped products of this process: 32, 64 or 128."""
    nvgemm.set_mk_alignment_for_contiguous_layout(whole("new_value", new_value, "an int: 32, 64 or 128"))


def get_mk_alignment_for_contiguous_layout() -> int:
    """What `set_mk_alignment_for_contiguous_layout` set; 128 at first."""
    return nvgemm.get_mk_alignment_for_contiguous_layout()


get_m_alignment_for_contiguous_layout = get_mk_alignment_for_contiguous_layout  # version 1
get_k_alignment_for_contiguous_layout = get_mk_alignment_for_contiguous_layout


def get_theoretical_mk_alignment_for_contiguous_layout(
    expected_m: int | None = None, num_groups: int | None = None
) -> int:
    """Least alignment worth having for groups of about `expected_m` rows, or for `expected_m` in `num_groups` groups.

    128 where nothing is said.
    """
    if expected_m is None:
        return nvgemm.get_theoretical_mk_alignment_for_contiguous_layout()
    rows = whole("expected_m", expected_m, "an int, 1 or more, or None")
    if num_groups is not None:
        rows = ceil_div(rows, whole("num_groups", num_groups, "an int, 1 or more, or None"))
    return nvgemm.get_theoretical_mk_alignment_for_contiguous_layout(rows)
