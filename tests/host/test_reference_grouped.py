"""Which row belongs to which group, against the contract row by row; grouped products against dense ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvgemm import reference

INT32 = st.integers(-(2**31), 2**31 - 1)
M, GROUPS = 70, 5
VALUES = st.one_of(st.integers(-3, M + 3), INT32)
ALIGNMENTS = st.sampled_from([1, 4, 32, 64])


@settings(max_examples=60)
@given(st.lists(st.one_of(st.integers(-1, GROUPS), INT32), max_size=M), ALIGNMENTS)
def test_contiguous_by_its_contract(named, alignment):
    got = reference.rows_of_contiguous(np.array(named, np.int32), GROUPS, alignment)
    for row, group in enumerate(named):
        first = named[row // alignment * alignment]
        assert got[row] == (group if group == first and 0 <= first < GROUPS else -1)
    assert got.shape == (len(named),)


@settings(max_examples=60)
@given(st.lists(VALUES, min_size=1, max_size=GROUPS), ALIGNMENTS)
def test_psum_by_its_contract(ends, alignment):
    expected, before = [-1] * M, 0
    for group, end in enumerate(ends):
        start = -(-before // alignment) * alignment
        if 0 <= before <= M and start <= end <= M:
            expected[start:end] = [group] * (end - start)
        before = end
    assert reference.rows_of_psum(np.array(ends, np.int32), M, alignment).tolist() == expected


@settings(max_examples=60)
@given(st.lists(VALUES, min_size=1, max_size=GROUPS + 1))
def test_offsets_by_their_contract(offsets):
    expected = [-1] * M
    for group in range(len(offsets) - 1):
        start, end = offsets[group], offsets[group + 1]
        if start >= 0 and start <= end <= M:
            expected[start:end] = [group] * (end - start)
    assert reference.rows_of_offsets(np.array(offsets, np.int32), M).tolist() == expected


@settings(max_examples=60)
@given(st.lists(st.one_of(st.integers(-2, 12), INT32), max_size=GROUPS), st.integers(0, 10))
def test_masked_by_its_contract(counts, max_m):
    got = reference.rows_of_masked(np.array(counts, np.int32), max_m)
    assert got.shape == (len(counts), max_m)
    for group, count in enumerate(counts):
        used = count if 0 <= count <= max_m else 0
        assert got[group].tolist() == [group] * used + [-1] * (max_m - used)


def test_examples():
    """Written out, so that the contract can be read."""
    layout = [0, 0, -1, -1, 2, 2, 2, 0, -1, 1, 3, 3]
    assert reference.rows_of_contiguous(layout, 3, 4).tolist() == [0, 0, -1, -1, 2, 2, 2, -1, -1, -1, -1, -1]
    assert reference.rows_of_contiguous(layout, 4, 2).tolist() == [0, 0, -1, -1, 2, 2, 2, -1, -1, -1, 3, 3]
    assert reference.rows_of_psum([3, 3, 6], 8, 4).tolist() == [0, 0, 0, -1, 2, 2, -1, -1]
    assert reference.rows_of_psum([9, 6, 8], 8, 2).tolist() == [-1, -1, -1, -1, -1, -1, 2, 2]
    assert reference.rows_of_offsets([1, 3, 3, 5], 6).tolist() == [-1, 0, 0, 2, 2, -1]
    assert reference.rows_of_masked([2, 4, -1], 3).tolist() == [[0, 0, -1], [-1, -1, -1], [-1, -1, -1]]


def operands(rng, rows: tuple[int, ...], n: int = 136, k: int = 272) -> tuple[np.ndarray, ...]:
    a = reference.per_token_cast_to_fp8(rng.standard_normal((int(np.prod(rows)), k)))
    b = [reference.per_block_cast_to_fp8(rng.standard_normal((n, k))) for _ in range(3)]
    data, scales = (np.stack(parts) for parts in zip(*b, strict=True))
    return a.data.reshape(*rows, k), a.scales.reshape(*rows, a.scales.shape[1]), data, scales


@pytest.mark.parametrize(("product", "dense"), [
    (reference.grouped_gemm, reference.gemm), (reference.absolute_grouped_gemm, reference.absolute_gemm),
])  # fmt: skip
def test_each_row_is_multiplied_by_its_group(product, dense, rng):
    a, sfa, b, sfb = operands(rng, (7,))
    rows = np.array([2, -1, 0, 0, -1, 2, 1])
    got = product(a, sfa, b, sfb, rows)
    assert got.shape == (7, 136)
    for row, group in enumerate(rows):
        if group < 0:
            assert np.isnan(got[row]).all()
        else:
            np.testing.assert_allclose(got[row], dense(a, sfa, b[group], sfb[group])[row], rtol=1e-12)


def test_rows_of_nobody_are_never_read(rng):
    a, sfa, b, sfb = operands(rng, (3, 4))
    rows = reference.rows_of_masked([3, 0, 4], 4)
    a[rows < 0], sfa[rows < 0] = 0x7F, np.nan
    got = reference.grouped_gemm(a, sfa, b, sfb, rows)
    assert got.shape == (3, 4, 136)
    np.testing.assert_array_equal(np.isnan(got).all(axis=2), rows < 0)
    assert np.isfinite(got[rows >= 0]).all()
    np.testing.assert_allclose(got[2], reference.gemm(a[2], sfa[2], b[2], sfb[2]), rtol=1e-12)


@pytest.mark.parametrize("rows", [(0,), (3, 0)])
def test_no_rows(rng, rows):
    assert reference.grouped_gemm(*operands(rng, rows), np.empty(rows, int)).shape == (*rows, 136)


def test_what_does_not_fit_is_named(rng):
    a, sfa, b, sfb = operands(rng, (7,))
    with pytest.raises(ValueError, match=r"group_of_row: expected shape \(7,\) for a \(7, 272\), got \(6,\)"):
        reference.grouped_gemm(a, sfa, b, sfb, np.zeros(6, int))
    with pytest.raises(ValueError, match=r"group_of_row: b has 3 groups, got group 3"):
        reference.grouped_gemm(a, sfa, b, sfb, np.full(7, 3))
    with pytest.raises(ValueError, match=r"scales: expected shape \(2, 3\)"):
        reference.grouped_gemm(a, sfa, b, sfb[:, :1], np.zeros(7, int))
