"""Every refusal of the grouped operations once: made from numbers alone, before a GPU is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import nvgemm
from nvgemm import ArrayView
from nvgemm.choice.problem import ceil_div, sfa_stride

M, N, K, G, MMAX = 300, 2112, 7168, 4, 96
MIB = 1 << 20
FLAT = ("contiguous", "psum", "offsets")  # A is [M, K]
EACH = (*FLAT, "masked", "batched")
INDEXED = {"contiguous": ("grouped_layout", M), "psum": ("grouped_layout", G), "offsets": ("offsets", G + 1),
           "masked": ("masked_m", G)}  # fmt: skip


def operands(operation: str, **changed: Any) -> dict[str, ArrayView]:
    """Good operands; `changed` replaces fields of one, such as ``a={"dtype": "int8"}``."""
    k_blocks, outer, m = ceil_div(K, 128), (), M
    if operation not in FLAT:
        outer, m = (G,), MMAX
    pitch = sfa_stride(m)
    fields: dict[str, dict[str, Any]] = {
        "a": {"ptr": 64 * MIB, "shape": (*outer, m, K)},
        "sfa": {"ptr": 128 * MIB, "shape": (*outer, m, k_blocks), "dtype": "float32",
                "strides": (*(k_blocks * pitch for _ in outer), 1, pitch)},
        "b": {"ptr": 192 * MIB, "shape": (G, N, K)},
        "sfb": {"ptr": 384 * MIB, "shape": (G, ceil_div(N, 128), k_blocks), "dtype": "float32"},
        "d": {"ptr": 448 * MIB, "shape": (*outer, m, N), "dtype": "bfloat16"},
        "indices": {"ptr": 512 * MIB, "shape": (INDEXED.get(operation, ("", 0))[1],), "dtype": "int32"},
    }  # fmt: skip
    for name, change in changed.items():
        fields[name] = {**fields[name], **change}
    return {name: ArrayView(**each) for name, each in fields.items()}


def call(operation: str, views: dict[str, Any], **options: Any) -> Any:
    a, sfa, b, sfb, d, indices = (views[name] for name in ("a", "sfa", "b", "sfb", "d", "indices"))
    if operation == "batched":
        return nvgemm.batched_fp8_gemm_nt((a, sfa), (b, sfb), d, **options)
    if operation == "offsets":
        return nvgemm.m_grouped_fp8_gemm_nt_offsets((a, sfa), (b, sfb), d, indices, **options)
    if operation == "masked":
        expected_m = options.pop("expected_m", 64)
        return nvgemm.m_grouped_fp8_gemm_nt_masked((a, sfa), (b, sfb), d, indices, expected_m, **options)
    options.setdefault("use_psum_layout", operation == "psum")
    return nvgemm.m_grouped_fp8_gemm_nt_contiguous((a, sfa), (b, sfb), d, indices, **options)


def refuse(operation: str, error: type[Exception], message: str, views: dict[str, Any], **options: Any) -> None:
    with pytest.raises(error, match=message):
        call(operation, views, **options)


OF_EACH = [
    # dtypes
    ({"a": {"dtype": "int8"}}, TypeError, r"^a: expected float8_e4m3fn or uint8, got int8"),
    ({"b": {"dtype": "float8_e5m2"}}, TypeError, r"^b: .*got float8_e5m2"),
    ({"a": {"dtype": "bfloat16"}}, TypeError, r"^a: .*got bfloat16; quantise it first"),
    ({"sfa": {"dtype": "float64"}}, TypeError, r"^a scales: expected float32, got float64"),
    ({"sfb": {"dtype": "bfloat16"}}, TypeError, r"^b scales: expected float32, got bfloat16"),
    ({"d": {"dtype": "float32"}}, TypeError, r"^d: expected bfloat16.*, got float32"),
    ({"a": {"dtype": "float32"}, "sfa": {"dtype": "uint8"}}, TypeError, r"^a: the pair is swapped"),
    ({"b": {"dtype": "float32"}, "sfb": {"dtype": "uint8"}}, TypeError, r"^b: the pair is swapped"),
    # shapes
    ({"b": {"shape": (G * N, K)}}, ValueError, r"^b: expected 3 dimensions \[G, N, K\], got 2"),
    ({"b": {"shape": (G, N, K - 128)}}, ValueError, r"K must be the same.*7168.*7040"),
    ({"sfb": {"shape": (G - 1, 17, 56)}}, ValueError, r"^b scales: .*\(3, 17, 56\)"),
    ({"sfb": {"shape": (G, 56, 17)}}, ValueError, r"^b scales: .*\(4, 56, 17\)"),
    # strides
    ({"b": {"strides": (N * K, 1, N)}}, ValueError, r"^b: K must be contiguous"),
    ({"b": {"strides": (N * (K + 8), K + 8, 1)}}, ValueError, r"^b: row stride 7176 .*not a multiple of 16"),
    # pointers
    ({"a": {"ptr": 64 * MIB + 8}}, ValueError, r"^a: pointer 0x4000008 is not 16-byte aligned"),
    ({"b": {"ptr": 0}}, ValueError, r"^b: null pointer"),
    ({"d": {"ptr": 448 * MIB + 4}}, ValueError, r"^d: pointer .* is not 16-byte aligned"),
    ({"sfa": {"ptr": 128 * MIB + 2}}, ValueError, r"^a scales: pointer .* is not 4-byte aligned"),
    ({"sfb": {"device": 1}}, ValueError, r"^operands: all must be on one device, .*b scales on 1"),
    ({"d": {"device": 1}}, ValueError, r"^operands: all must be on one device, .*d on 1"),
    ({"d": {"readonly": True}}, ValueError, r"^d: the array is read-only"),
    ({"d": {"ptr": 64 * MIB}}, ValueError, r"^d: overlaps a,"),
    ({"d": {"ptr": 192 * MIB}}, ValueError, r"^d: overlaps b,"),
]


@pytest.mark.parametrize("operation", EACH)
@pytest.mark.parametrize(("changed", "error", "message"), OF_EACH, ids=lambda x: x if isinstance(x, str) else "")
def test_operands(operation: str, changed: dict[str, Any], error: type[Exception], message: str) -> None:
    refuse(operation, error, message, operands(operation, **changed))


@pytest.mark.parametrize(
    ("operation", "changed", "message"),
    [
        ("contiguous", {"a": {"shape": (G, MMAX, K)}}, r"^a: expected 2 dimensions \[M, K\], got 3"),
        ("offsets", {"a": {"shape": (K,)}}, r"^a: expected 2 dimensions \[M, K\], got 1"),
        ("masked", {"a": {"shape": (M, K)}}, r"^a: expected 3 dimensions \[G, M.*, K\], got 2"),
        ("batched", {"a": {"shape": (M, K)}}, r"^a: expected 3 dimensions \[G, M.*, K\], got 2"),
        ("offsets", {"a": {"strides": (1, M)}}, r"^a: K must be contiguous"),
        ("psum", {"a": {"strides": (K + 8, 1)}}, r"^a: row stride 7176 .*not a multiple of 16"),
        (
            "masked",
            {"a": {"strides": (MMAX * K + 16, K, 1)}},
            r"^a: the .*stride must be a multiple of .* 7168 .*got 688144",
        ),
        ("batched", {"d": {"strides": (N, N, 1)}}, r"^d: groups overlap, their stride is 2112"),
        ("contiguous", {"sfa": {"shape": (M, 55)}}, r"^a scales: expected shape \(300, 56\).*\(300, 55\)"),
        ("masked", {"sfa": {"shape": (G, MMAX, 55)}}, r"^a scales: expected shape \(4, 96, 56\).*\(4, 96, 55\)"),
        ("contiguous", {"sfa": {"strides": (2, 600)}}, r"^a scales: .*contiguous"),
        ("contiguous", {"d": {"shape": (M, N + 8)}}, r"^d: expected shape \(300, 2112\).*\(300, 2120\)"),
        ("masked", {"d": {"shape": (G, MMAX + 1, N)}}, r"^d: expected shape \(4, 96, 2112\).*\(4, 97, 2112\)"),
        ("offsets", {"d": {"strides": (1, M)}}, r"^d: N must be contiguous"),
        ("psum", {"d": {"strides": (2116, 1)}}, r"^d: row stride 2116 .*not a multiple of 16"),
        ("batched", {"d": {"strides": (MMAX * N, 1, MMAX)}}, r"^d: N must be contiguous"),
        ("masked", {"b": {"shape": (G + 1, N, K)}, "sfb": {"shape": (G + 1, 17, 56)}}, r"G.*4.*5"),
        ("batched", {"b": {"shape": (G - 1, N, K)}, "sfb": {"shape": (G - 1, 17, 56)}}, r"G.*4.*3"),
    ],
    ids=str,
)
def test_shapes_and_strides_of_one_operation(operation: str, changed: dict[str, Any], message: str) -> None:
    refuse(operation, ValueError, message, operands(operation, **changed))


@pytest.mark.parametrize("operation", EACH)
def test_sizes_that_tma_cannot_move(operation: str) -> None:
    def of(n: int, k: int) -> dict[str, ArrayView]:
        outer = (M,) if operation in FLAT else (G, MMAX)
        parts = {"a": (*outer, k), "sfa": (*outer, ceil_div(k, 128)), "b": (G, n, k), "d": (*outer, n),
                 "sfb": (G, ceil_div(n, 128), ceil_div(k, 128))}  # fmt: skip
        return operands(operation, **{name: {"shape": shape, "strides": None} for name, shape in parts.items()})

    refuse(operation, ValueError, r"^b: N must be a multiple of 8, got N=2110", of(2110, K))
    refuse(operation, ValueError, r"K must be a .*multiple of 16, got K=72", of(N, 72))
    refuse(operation, ValueError, r"K must be a .*multiple of 16, got K=0", of(N, 0))


@pytest.mark.parametrize("operation", EACH)
def test_no_pair(operation: str) -> None:
    views = operands(operation)
    for name, scales in (("a", "sfa"), ("b", "sfb")):
        message = rf"^{name}: expected a pair \(data, scales\), got a pair with no scales"
        refuse(operation, TypeError, message, {**views, scales: None})


@pytest.mark.parametrize("operation", INDEXED)
def test_indices(operation: str) -> None:
    """Of another dtype, length, rank or layout, from the host, or where no kernel may read or write them."""
    name, length = INDEXED[operation]

    def of(error: type[Exception], message: str, **fields: Any) -> None:
        refuse(operation, error, rf"^{name}: {message}", operands(operation, indices=fields))

    of(TypeError, "expected int32, got int64", dtype="int64")
    of(TypeError, "expected int32, got float32", dtype="float32")
    of(TypeError, "expected int32, got uint32", dtype="uint32")
    of(ValueError, rf".*\({length},\).*\({length + 1},\)", shape=(length + 1,))
    of(ValueError, rf".*\({length},\).*\(0,\)", shape=(0,))
    of(ValueError, rf".*\({length}, 1\)", shape=(length, 1))
    of(ValueError, r".*contiguous.*\(2,\)", strides=(2,))
    of(ValueError, r"pointer .* is not 4-byte aligned", ptr=512 * MIB + 2)
    of(ValueError, "null pointer", ptr=0)
    views = operands(operation)
    for host in (np.zeros(length, np.int32), [0] * length):
        refuse(operation, TypeError, rf"^{name}: (host array|expected a device array)", {**views, "indices": host})
    on_another = operands(operation, indices={"device": 1})
    refuse(operation, ValueError, rf"^operands: all must be on one device, .*{name} on 1", on_another)
    under_d = operands(operation, indices={"ptr": 448 * MIB + 16})
    refuse(operation, ValueError, rf"^d: overlaps {name},", under_d)


def test_ends_are_as_many_as_groups() -> None:
    """What is right for one layout is refused in the other."""
    rows, ends = operands("contiguous"), operands("psum")
    refuse("psum", ValueError, r"^grouped_layout: .*\(4,\).*\(300,\)", rows)
    refuse("contiguous", ValueError, r"^grouped_layout: .*\(300,\).*\(4,\)", ends)


@pytest.mark.parametrize("operation", EACH)
def test_options(operation: str) -> None:
    views = operands(operation)
    refuse(operation, ValueError, r"^recipe: \(1, 128, 128\).*got \(1, 1, 128\)", views, recipe=(1, 1, 128))
    refuse(operation, TypeError, r"^recipe: expected three ints", views, recipe=5)
    refuse(operation, ValueError, r"^num_sms: ", views, num_sms=0)
    refuse(operation, TypeError, r"^stream: ", views, stream="a stream")


@pytest.mark.parametrize("operation", INDEXED)
def test_expected_m(operation: str) -> None:
    views = operands(operation)
    for wrong in (0, -1):
        refuse(operation, ValueError, rf"^expected_m: .*got {wrong}", views, expected_m=wrong)
    for wrong in (1.5, "64"):
        refuse(operation, TypeError, r"^expected_m: .*got ", views, expected_m=wrong)


def test_the_masked_product_has_to_be_told_what_to_expect() -> None:
    refuse("masked", TypeError, r"^expected_m: ", operands("masked"), expected_m=None)


@pytest.mark.parametrize("operation", ["contiguous", "psum"])
def test_alignment(operation: str) -> None:
    views = operands(operation)
    for wrong in (0, 16, 48, 256, -64):
        refuse(operation, ValueError, rf"^alignment: .*got {wrong}", views, alignment=wrong)


def test_the_rule_of_alignments_is_told() -> None:
    refuse("psum", ValueError, r"^alignment: expected 32, 64 or 128 rows, got 96", operands("psum"), alignment=96)


def test_more_groups_than_are_listed_on_the_device() -> None:
    many = {"b": {"shape": (1025, 8, K)}, "sfb": {"shape": (1025, 1, 56)}, "d": {"shape": (M, 8)}}
    refuse("offsets", ValueError, r"^b: at most 1024 groups, got 1025", operands("offsets", **many))


@pytest.fixture
def alignment() -> Iterator[None]:
    before = nvgemm.get_mk_alignment_for_contiguous_layout()
    yield
    nvgemm.set_mk_alignment_for_contiguous_layout(before)


def test_alignment_for_all_calls(alignment: None) -> None:
    assert nvgemm.get_mk_alignment_for_contiguous_layout() == 128
    for rows in (32, 64, 128):
        nvgemm.set_mk_alignment_for_contiguous_layout(rows)
        assert nvgemm.get_mk_alignment_for_contiguous_layout() == rows
    for wrong in (0, 16, 96, 256):
        with pytest.raises(ValueError, match=rf"^alignment: .*got {wrong}"):
            nvgemm.set_mk_alignment_for_contiguous_layout(wrong)
    assert nvgemm.get_mk_alignment_for_contiguous_layout() == 128


def test_the_least_alignment_worth_having() -> None:
    """Small groups waste less in small blocks, and it never shrinks as they grow."""
    found = [nvgemm.get_theoretical_mk_alignment_for_contiguous_layout(rows) for rows in range(1, 1000)]
    assert set(found) <= {32, 64, 128}
    assert found == sorted(found)
    assert nvgemm.get_theoretical_mk_alignment_for_contiguous_layout() in (32, 64, 128)
    with pytest.raises(ValueError, match=r"^expected_m: .*got 0"):
        nvgemm.get_theoretical_mk_alignment_for_contiguous_layout(0)
