"""Layouts of scales, and the alignment of groups, by DeepGEMM's names."""

from __future__ import annotations

from typing import Any

import nvgemm
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

_HOPPER_ALIGNMENT = 128
_mk_alignment = _HOPPER_ALIGNMENT


def get_tma_aligned_size(mn: int, element_size: int) -> int:
    """Elements that `mn` of them, `element_size` bytes each, take when padded to whole 16-byte units."""
    return nvgemm.get_tma_aligned_size(mn, element_size)


def get_mn_major_tma_aligned_tensor(sf: Any) -> Any:
    """FP32 scales [MN, ceil(K/128)] with strides ``(1, align(MN, 4))``: `sf` itself where it lies so, else a copy."""
    if sf.ndim == 3:
        raise refused.missing("get_mn_major_tma_aligned_tensor", "scales of groups (3 dimensions) are", "")
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
        FP32 [ceil(mn/rows), ceil(k/128)], where `rows` of the data share a scale.
    mn, k : int
        Shape of the data that the scales belong to.
    recipe : (int, int, int) or (int, int)
        Rows of A, rows of B and elements of K to a scale, of which `is_sfa` picks one side; or (rows, elements of K).
    num_groups, psum_layout
        Only None.
    disable_ue8m0_cast : bool
        Without effect on Hopper, as in DeepGEMM.
    """
    if num_groups is not None or psum_layout is not None:
        raise refused.missing("transform_sf_into_required_layout", "scales of groups are", "")
    recipe = whole_numbers("recipe", recipe, (2, 3), "two or three ints")
    if len(recipe) == 2:
        if is_sfa is not None:
            raise ValueError(f"is_sfa: a recipe for one side, {recipe}, takes None, got {is_sfa}")
        recipe = recipe[0], *recipe
    rows_a, rows_b, columns = recipe
    return nvgemm.transform_sf_into_required_layout(sf, mn, k, (rows_a, rows_b, columns), is_sfa=bool(is_sfa))


def set_mk_alignment_for_contiguous_layout(new_value: int) -> None:
    """Store the rows that a group's start is a multiple of; read by grouped products only, which are missing."""
    global _mk_alignment
    rows = whole("new_value", new_value, "an int, 1 or more")
    if rows < 1:
        raise ValueError(f"new_value: expected 1 or more, got {rows}")
    _mk_alignment = rows


def get_mk_alignment_for_contiguous_layout() -> int:
    """What `set_mk_alignment_for_contiguous_layout` stored; 128 at first."""
    return _mk_alignment


get_m_alignment_for_contiguous_layout = get_mk_alignment_for_contiguous_layout  # version 1
get_k_alignment_for_contiguous_layout = get_mk_alignment_for_contiguous_layout


def get_theoretical_mk_alignment_for_contiguous_layout(
    expected_m: int | None = None, num_groups: int | None = None
) -> int:
    """128, on Hopper whatever the arguments are."""
    return _HOPPER_ALIGNMENT
