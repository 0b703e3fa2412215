"""Grouped products in FP64, and which rows belong to which group in each layout of the grouped operations."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvgemm.choice.checks import RECIPE_1D2D
from nvgemm.choice.problem import align
from nvgemm.reference.product import absolute_gemm, gemm

NOBODY = -1


def rows_of_contiguous(grouped_layout: Any, num_groups: int, alignment: int) -> NDArray[np.int64]:
    """Group of each row where a row names its group: a block of `alignment` rows belongs to that of its first row.

    Parameters
    ----------
    grouped_layout : array_like, [M]
        int32, the group that each row names.
    num_groups : int
        Groups that there are; a block whose first row names none of them is nobody's.
    alignment : int
        Rows to a block; the last one may have fewer.

    Returns
    -------
    ndarray of int64, [M]
        The group, or −1 for rows of nobody: those that name another group than their block's first row.
    """
    named = np.asarray(grouped_layout).astype(np.int64)
    of_block = named[::alignment].repeat(alignment)[: len(named)]
    return np.where((named == of_block) & (of_block >= 0) & (of_block < num_groups), named, NOBODY)


def rows_of_psum(ends: Any, m: int, alignment: int) -> NDArray[np.int64]:
    """Group of each row where groups are given by their ends, and begin on multiples of `alignment`.

    Parameters
    ----------
    ends : array_like, [G]
        int32, the row after the last of each group. A group without rows: its end lies before its start, or beyond
        `m`, or the end before it is not in 0…`m`.
    m : int
        Rows of D.
    alignment : int
        The first group starts at row 0, each other at the next multiple of `alignment` from the end before it on.

    Returns
    -------
    ndarray of int64, [M]
        The group, or −1 for rows of nobody. Of a row in two groups, which only decreasing ends give, the later one.
    """
    ends = [int(end) for end in np.asarray(ends)]
    starts = [align(before, alignment) if 0 <= before <= m else NOBODY for before in [0, *ends[:-1]]]
    return _filled(zip(starts, ends, strict=True), m)


def rows_of_offsets(offsets: Any, m: int) -> NDArray[np.int64]:
    """Group of each row where group g has the rows ``offsets[g]`` to ``offsets[g + 1] − 1``.

    Parameters
    ----------
    offsets : array_like, [G + 1]
        int32. A group whose end lies before its start, or that leaves 0…`m`, has no rows.
    m : int
        Rows of D.

    Returns
    -------
    ndarray of int64, [M]
        The group, or −1 for rows of nobody. Of a row in two groups, which only decreasing offsets give, the later one.
    """
    values = [int(offset) for offset in np.asarray(offsets)]
    return _filled(pairwise(values), m)


def _filled(segments: Iterable[tuple[int, int]], m: int) -> NDArray[np.int64]:
    rows = np.full(m, NOBODY, np.int64)
    for group, (start, end) in enumerate(segments):
        if 0 <= start <= end <= m:
            rows[start:end] = group
    return rows


def rows_of_masked(masked_m: Any, max_m: int) -> NDArray[np.int64]:
    """Group of each row where every group has room for `max_m` rows and uses the first of them.

    Parameters
    ----------
    masked_m : array_like, [G]
        int32, rows of each group; a count outside 0…`max_m` is no rows.
    max_m : int
        Rows that each group has room for.

    Returns
    -------
    ndarray of int64, [G, Mmax]
        The group, or −1 for rows of nobody.
    """
    counts = np.asarray(masked_m).astype(np.int64)
    counts = np.where(counts > max_m, 0, counts)
    groups = np.arange(len(counts))[:, None]
    return np.where(np.arange(max_m) < counts[:, None], groups, NOBODY)


def grouped_gemm(a: Any, sfa: Any, b: Any, sfb: Any, group_of_row: Any) -> NDArray[np.float64]:
    """Each row of A times the B of its group, in FP64.

    Parameters
    ----------
    a : array, [M, K] or [G, Mmax, K]
        E4M3 codes.
    sfa : array_like, [M, ceil(K/128)] or [G, Mmax, ceil(K/128)]
        FP32 scales.
    b : array, [G, N, K]
        E4M3 codes.
    sfb : array_like, [G, ceil(N/128), ceil(K/128)]
        FP32 scales.
    group_of_row : array_like, [M] or [G, Mmax]
        int64, the group of each row of A, or −1; one of the functions ``rows_of_…`` makes it.

    Returns
    -------
    ndarray of float64, [M, N] or [G, Mmax, N]
        NaN on the rows of nobody.

    Raises
    ------
    TypeError, ValueError
        As `gemm`, for one of the groups; `group_of_row` has another shape than the rows of `a`, or names a group that
        `b` does not have.
    """
    return _by_group(gemm, a, sfa, b, sfb, group_of_row)


def absolute_grouped_gemm(a: Any, sfa: Any, b: Any, sfb: Any, group_of_row: Any) -> NDArray[np.float64]:
    """Σ|a·b| for each element of `grouped_gemm`: what an accumulation error is measured against.

    Parameters
    ----------
    a, b : array, [M, K] or [G, Mmax, K], and [G, N, K]
        E4M3 codes.
    sfa, sfb : array_like, [M, ceil(K/128)] or [G, Mmax, ceil(K/128)], and [G, ceil(N/128), ceil(K/128)]
        FP32 scales.
    group_of_row : array_like, [M] or [G, Mmax]
        int64, as in `grouped_gemm`.

    Returns
    -------
    ndarray of float64, [M, N] or [G, Mmax, N]
        NaN on the rows of nobody.

    Raises
    ------
    TypeError, ValueError
        As `grouped_gemm`.
    """
    return _by_group(absolute_gemm, a, sfa, b, sfb, group_of_row)


def _by_group(product: Any, a: Any, sfa: Any, b: Any, sfb: Any, group_of_row: Any) -> NDArray[np.float64]:
    a, sfa, b, sfb, of_row = (np.asarray(x) for x in (a, sfa, b, sfb, group_of_row))
    if of_row.shape != a.shape[:-1]:
        raise ValueError(f"group_of_row: expected shape {a.shape[:-1]} for a {a.shape}, got {of_row.shape}")
    if of_row.max(initial=NOBODY) >= len(b):
        raise ValueError(f"group_of_row: b has {len(b)} groups, got group {of_row.max()}")
    result = np.full((of_row.size, b.shape[1]), np.nan)
    rows_a, rows_sfa, of_row = (x.reshape(of_row.size, *x.shape[of_row.ndim :]) for x in (a, sfa, of_row))
    for group in np.unique(of_row[of_row >= 0]):
        rows = np.flatnonzero(of_row == group)
        result[rows] = product(rows_a[rows], rows_sfa[rows], b[group], sfb[group], RECIPE_1D2D)
    return result.reshape(*a.shape[:-1], b.shape[1])
