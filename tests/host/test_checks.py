"""Every refusal of the operand checks once, and every layout that must pass."""

from __future__ import annotations

from typing import Any

import pytest

from nvgemm.choice import checks
from nvgemm.choice.problem import Problem, ceil_div, k_block_stride, row_stride, sfa_stride, tma_aligned_size
from nvgemm.runtime.array_view import ArrayView

M, N, K = 300, 2112, 7168
MIB = 1 << 20


def operands(m: int = M, n: int = N, k: int = K, **changed: Any) -> list[ArrayView | None]:
    """Good operands; `changed` replaces fields of one, such as ``a={"dtype": "int8"}``, or the whole of it."""
    k_blocks = ceil_div(k, 128)
    fields: dict[str, dict[str, Any]] = {
        "a": {"ptr": 64 * MIB, "shape": (m, k)},
        "sfa": {"ptr": 128 * MIB, "shape": (m, k_blocks), "strides": (1, sfa_stride(m)), "dtype": "float32"},
        "b": {"ptr": 192 * MIB, "shape": (n, k)},
        "sfb": {"ptr": 256 * MIB, "shape": (ceil_div(n, 128), k_blocks), "dtype": "float32"},
        "d": {"ptr": 320 * MIB, "shape": (m, n), "dtype": "bfloat16"},
    }
    for name, change in changed.items():
        fields[name] = {**fields[name], **change}
    return [ArrayView(**each) for each in fields.values()]


def dense(views: list[Any], recipe: Any = None) -> Problem:
    return checks.dense(*views, recipe=recipe)


REFUSALS = [
    # dtypes
    ({"a": {"dtype": "int8"}}, TypeError, r"a: expected float8_e4m3fn or uint8, got int8; int8 is no FP8 type"),
    ({"b": {"dtype": "float8_e5m2"}}, TypeError, r"b: .*got float8_e5m2; .*E4M3"),
    ({"a": {"dtype": "float8_e4m3fnuz"}}, TypeError, r"a: .*got float8_e4m3fnuz; .*'fn'"),
    ({"a": {"dtype": "bfloat16"}}, TypeError, r"a: .*got bfloat16; quantise it first"),
    ({"sfa": {"dtype": "float64"}}, TypeError, r"a scales: expected float32, got float64"),
    ({"sfb": {"dtype": "bfloat16"}}, TypeError, r"b scales: expected float32, got bfloat16"),
    ({"d": {"dtype": "float32"}}, TypeError, r"d: expected bfloat16.*, got float32"),
    ({"a": {"dtype": "float32"}, "sfa": {"dtype": "uint8"}}, TypeError, r"a: the pair is swapped"),
    ({"b": {"dtype": "float32"}, "sfb": {"dtype": "float8_e4m3fn"}}, TypeError, r"b: the pair is swapped"),
    # ranks and sizes
    ({"a": {"shape": (2, M, K)}}, ValueError, r"a: expected a matrix \[M, K\], got 3 dimensions"),
    ({"b": {"shape": (K,)}}, ValueError, r"b: expected a matrix \[N, K\], got 1 dimensions"),
    ({"a": {"shape": (2**31, K)}}, ValueError, r"a: sizes must be below 2\^31"),
    ({"b": {"shape": (N, 7040)}}, ValueError, r"K must be the same, got K=7168 in a .* K=7040 in b"),
    ({"d": {"shape": (M, N + 8)}}, ValueError, r"d: expected shape \(300, 2112\) for M=300, N=2112, got \(300, 2120\)"),
    # strides
    ({"a": {"strides": (1, M)}}, ValueError, r"a: K must be contiguous \(stride 1\), got strides \(1, 300\)"),
    ({"b": {"strides": (K + 8, 1)}}, ValueError, r"b: row stride 7176 elements is 7176 bytes, not a multiple of 16"),
    ({"a": {"strides": (0, 1)}}, ValueError, r"a: rows overlap, the row stride is 0 elements for K=7168"),
    ({"b": {"strides": (-K, 1)}}, ValueError, r"b: rows overlap"),
    ({"a": {"strides": (2**40, 1)}}, ValueError, r"a: row stride .* TMA takes less than 2\^40"),
    ({"d": {"strides": (1, M)}}, ValueError, r"d: N must be contiguous"),
    ({"d": {"strides": (2116, 1)}}, ValueError, r"d: row stride 2116 elements is 4232 bytes, not a multiple of 16"),
    ({"sfa": {"strides": (2, 600)}}, ValueError, r"a scales: one of the two axes must be contiguous"),
    ({"sfa": {"strides": (1, 296)}}, ValueError, r"a scales: one of the two axes must be contiguous"),
    ({"sfb": {"strides": (-56, 1)}}, ValueError, r"b scales: strides must not be negative"),
    ({"sfb": {"strides": (2**31, 1)}}, ValueError, r"b scales: strides .* span 2\^32 elements or more"),
    # scale shapes
    ({"sfa": {"shape": (M, 55)}}, ValueError, r"a scales: expected shape \(300, 56\) for M=300, K=7168 .*\(300, 55\)"),
    ({"sfa": {"shape": (56, M)}}, ValueError, r"a scales: .*; it is transposed, pass its \.T"),
    ({"sfb": {"shape": (56, 17), "strides": (17, 1)}}, ValueError, r"b scales: .*; it is transposed, pass its \.T"),
    (
        {"sfb": {"shape": (N, 56)}},
        ValueError,
        r"b scales: expected shape \(17, 56\) for N=2112, K=7168 \(one per 128×128 block\), got \(2112, 56\); per-row",
    ),
    # pointers
    ({"a": {"ptr": 64 * MIB + 8}}, ValueError, r"a: pointer 0x4000008 is not 16-byte aligned; TMA needs it"),
    ({"b": {"ptr": 0}}, ValueError, r"b: null pointer"),
    ({"d": {"ptr": 320 * MIB + 4}}, ValueError, r"d: pointer .* is not 16-byte aligned"),
    ({"sfa": {"ptr": 128 * MIB + 2}}, ValueError, r"a scales: pointer .* is not 4-byte aligned; an FP32 array"),
    ({"sfb": {"device": 1}}, ValueError, r"operands: all must be on one device, got a on 0, .*b scales on 1"),
    ({"d": {"device": 1}}, ValueError, r"operands: all must be on one device, .*d on 1"),
    ({"d": {"readonly": True}}, ValueError, r"d: the array is read-only"),
    ({"d": {"ptr": 64 * MIB}}, ValueError, r"d: overlaps a,"),
    ({"d": {"ptr": 192 * MIB - 16}}, ValueError, r"d: overlaps b,"),
    ({"d": {"ptr": 128 * MIB}}, ValueError, r"d: overlaps a scales"),
    ({"d": {"ptr": 256 * MIB}}, ValueError, r"d: overlaps b scales"),
]


@pytest.mark.parametrize(("changed", "error", "message"), REFUSALS)
def test_refused_with_argument_value_and_rule(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dense(operands(**changed))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((64, 2110, 7168), r"b: N must be a multiple of 8, got N=2110; pad"),
        ((64, 2112, 72), r"a and b: K must be a multiple of 16, got K=72; pad"),
    ],
)
def test_sizes_that_tma_cannot_move(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dense(operands(*sizes))


def test_other_recipe() -> None:
    with pytest.raises(ValueError, match=r"recipe: \(1, 128, 128\) is what fp8_gemm_nt computes, got \(1, 1, 128\)"):
        dense(operands(), (1, 1, 128))
    assert dense(operands(), (1, 128, 128)) == dense(operands())


@pytest.mark.parametrize("sizes", [(0, N, K), (M, 0, K), (M, N, 0), (0, 0, 0), (1, 8, 16), (1, 8, 128)])
def test_empty_and_smallest(sizes: tuple[int, int, int]) -> None:
    views = operands(*sizes)
    assert dense(views) == Problem(*sizes, sfa_mn_major=True)
    empties = [ArrayView(0, v.shape, v.strides, v.dtype) if v and 0 in v.shape else v for v in views]
    assert dense(empties) == Problem(*sizes, sfa_mn_major=True)


def test_result_not_given() -> None:
    assert dense([*operands()[:4], None]) == Problem(M, N, K, True)


def test_bytes_stand_for_fp8_and_bf16() -> None:
    assert dense(operands(a={"dtype": "uint8"}, b={"dtype": "uint8"}, d={"dtype": "uint16"})).m == M


def test_slices_of_larger_buffers() -> None:
    wide = operands(a={"strides": (8192, 1)}, b={"strides": (K + 16, 1)}, d={"strides": (4096, 1)})
    assert dense(wide) == Problem(M, N, K, True)
    assert [row_stride(v.shape, v.strides) for v in wide if v and v.dtype != "float32"] == [8192, K + 16, 4096]
    assert row_stride((1, K), (12345, 1)) == K


def test_overlap_of_single_rows_that_report_no_stride() -> None:
    row = {"shape": (1, K), "strides": (0, 1)}
    sfa = {"shape": (1, 56), "strides": (1, 4)}
    d = {"shape": (1, N), "strides": (0, 1), "ptr": 64 * MIB}
    with pytest.raises(ValueError, match=r"d: overlaps a,"):
        dense(operands(a=row, sfa=sfa, d=d))


def test_recipe_may_be_any_sequence() -> None:
    assert dense(operands(), [1, 128, 128]) == dense(operands(), None) == dense(operands(), (1, 128, 128))


def test_separate_columns_of_one_buffer_do_not_overlap() -> None:
    pitch = 16384  # bytes: a's row, then d's
    side_by_side = {"a": {"strides": (pitch, 1)}, "d": {"ptr": 64 * MIB + K, "strides": (pitch // 2, 1)}}
    dense(operands(**side_by_side))
    side_by_side["d"]["ptr"] -= 16
    with pytest.raises(ValueError, match=r"d: overlaps a"):
        dense(operands(**side_by_side))


@pytest.mark.parametrize(
    ("m", "k", "strides", "offset", "as_it_is"),
    [
        (300, 7168, (1, 300), 0, True),  # 300 is a multiple of 4: padded and unpadded are the same
        (300, 7168, (1, 512), 0, True),
        (301, 7168, (1, 304), 0, True),
        (301, 7168, (1, 301), 0, False),
        (300, 7168, (1, 300), 4, False),  # MN-major, but TMA cannot start there
        (300, 7168, (56, 1), 0, False),
        (300, 7168, (64, 1), 0, False),  # columns of a wider K-major matrix
        (1, 7168, (56, 1), 0, False),
        (1, 7168, (1, 4), 0, True),
        (1, 7168, (777, 4), 0, True),  # one row: the row stride says nothing
        (1, 7168, (1, 1), 0, False),
        (300, 128, (1, 1), 0, True),  # one 128 of K: its stride says nothing
        (300, 128, (1, 304), 0, True),
        (300, 16, (5, 1), 0, False),  # a column of a wider matrix
        (1, 128, (7, 9), 0, True),
        (4, 512, (4, 1), 0, False),
        (4, 512, (1, 4), 0, True),
    ],
)
def test_layouts_of_row_scales(m: int, k: int, strides: tuple[int, int], offset: int, as_it_is: bool) -> None:
    views = operands(m=m, k=k, sfa={"strides": strides, "ptr": 128 * MIB + offset})
    assert dense(views).sfa_mn_major is as_it_is
    sfa = views[1]
    assert sfa is not None
    assert checks.scales(sfa, mn=m, k=k) is as_it_is
    if as_it_is and m > 1:
        stride = k_block_stride(sfa.shape, sfa.strides)
        assert stride >= m
        assert stride % 4 == 0


@pytest.mark.parametrize("strides", [(56, 1), (1, 17), (1, 64), (128, 2), (0, 0)])
def test_block_scales_of_any_layout(strides: tuple[int, int]) -> None:
    assert dense(operands(sfb={"strides": strides})) == Problem(M, N, K, True)


class Bare:
    shape = (2, 2)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (Bare(), r"a: expected a pair \(data, scales\), got a bare .*Bare; nvgemm.per_token_cast_to_fp8 makes one"),
        (ArrayView(16, (2, 2)), r"a: expected a pair \(data, scales\), got a bare nvgemm.ArrayView"),
        (None, r"a: expected a pair \(data, scales\), got nothing"),
        (([1], None), r"a: .* got a pair with no scales"),
        ((None, [1]), r"a: .* got a pair with no data"),
        (([1],), r"a: .* got 1 items"),
    ],
)
def test_pair_refused(x: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        checks.pair(x, "a")


def test_pair() -> None:
    assert checks.pair(("data", "scales"), "a") == checks.pair(["data", "scales"], "b") == ("data", "scales")


@pytest.mark.parametrize("check", [checks.per_token, checks.per_block])
def test_operands_of_the_quantisers(check: Any) -> None:
    assert check(ArrayView(64, (3, 100), (130, 1), "float16")) == (3, 100)
    assert check(ArrayView(0, (0, 100), None, "float32")) == (0, 100)
    for view, error, message in (
        (ArrayView(64, (3, 100), None, "float64"), TypeError, r"x: expected float32 or .*, got float64"),
        (ArrayView(64, (100,), None, "float32"), ValueError, r"x: expected a matrix \[[MN], K\]"),
        (ArrayView(64, (3, 100), (1, 3), "float32"), ValueError, r"x: K must be contiguous"),
        (ArrayView(64, (3, 100), (50, 1), "float32"), ValueError, r"x: rows overlap"),
        (ArrayView(66, (3, 100), None, "float32"), ValueError, r"x: pointer 0x42 is not aligned to the 4 bytes"),
        (ArrayView(0, (3, 100), None, "float32"), ValueError, r"x: null pointer"),
    ):
        with pytest.raises(error, match=message):
            check(view)


def test_scales_to_be_transposed() -> None:
    assert checks.scales(ArrayView(64, (5, 3), (1, 8), "float32"))
    assert not checks.scales(ArrayView(64, (5, 3), None, "float32"))
    with pytest.raises(ValueError, match=r"sf: expected shape \(5, 4\) for M=5, K=512"):
        checks.scales(ArrayView(64, (5, 3), None, "float32"), mn=5, k=512)
    with pytest.raises(TypeError, match=r"sf: expected float32, got int32"):
        checks.scales(ArrayView(64, (5, 3), None, "int32"))


def test_tma_aligned_size() -> None:
    assert [tma_aligned_size(m, 4) for m in (0, 1, 4, 5)] == [0, 4, 4, 8]
    assert tma_aligned_size(9, 2) == 16


def test_the_layout_part_is_remembered() -> None:
    views = operands()
    dense(views)
    before = checks.dense_layout.cache_info().hits
    dense(operands(a={"ptr": 65 * MIB}))
    assert checks.dense_layout.cache_info().hits == before + 1
