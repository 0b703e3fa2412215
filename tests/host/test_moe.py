"""Routing, permutation and weighted sum: refusals, the oracle by its definition, and kernels that compile clean."""

from __future__ import annotations

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvgemm import ArrayView, moe, reference
from nvgemm.moe import assignment, rows, weighted_sum
from nvgemm.moe.capacity import KINDS, capacity
from nvgemm.runtime.build import build
from nvgemm.runtime.sources import kernels_dir

LAYOUTS = [{}, {"layout": "contiguous", "alignment": 32}, {"layout": "masked", "max_m": 3}]


@pytest.mark.usefixtures("cache_dir")
@pytest.mark.parametrize("kernel", ["route_count", "route_place"])
def test_routing_compiles_without_spills(kernel):
    for num_experts, (id_bytes, layout) in product((1, 8, 256, 512, 1024), ((4, 0), (8, 1), (4, 2))):
        warps = assignment.warps_of(num_experts)
        constants = {"NUM_EXPERTS": num_experts, "NUM_WARPS": warps, "ID_BYTES": id_bytes, "LAYOUT": layout}
        check(build(kernel, constants), constants)


@pytest.mark.usefixtures("cache_dir")
@pytest.mark.parametrize(
    ("kernel", "constants"), [("permute", {"HAS_SCALES": False}), ("permute", {"HAS_SCALES": True}), ("combine", {})]
)
def test_rows_compile_without_spills(kernel, constants):
    check(build(kernel, constants), constants)


def check(cubin, constants):
    assert cubin.meta["spilled_bytes"] == 0, constants
    assert cubin.meta["complaints"] == [], constants
    assert cubin.meta["registers"] <= 64, constants
    assert cubin.symbol.encode() in cubin.image


@pytest.mark.parametrize(
    ("kernel", "constant", "value"),
    [
        ("permute", "NUM_THREADS", rows._THREADS),
        ("permute", "LANE_UNITS", rows._PIECE_BYTES // (16 * 32)),
        ("permute", "CTA_K_BLOCKS", rows._CTA_K_BLOCKS),
        ("combine", "NUM_THREADS", weighted_sum._THREADS),
        ("combine", "UNIT", weighted_sum._WARP_COLUMNS // 32),
    ],
)
def test_launch_geometry_is_the_kernels(kernel, constant, value):
    text = (kernels_dir() / f"{kernel}.cu").read_text()
    assert re.search(rf"\b{constant} = (\d+)", text).group(1) == str(value)


def test_layouts_are_the_kernels():
    text = (kernels_dir() / "route.cuh").read_text()
    assert [re.search(rf"\b{kind.upper()} = (\d+)", text).group(1) for kind in KINDS] == ["0", "1", "2"]


@given(st.integers(0, 2**24), st.integers(1, 1024))
def test_chunks_are_whole_pieces_and_few(slots, num_experts):
    threads = 32 * assignment.warps_of(num_experts)
    chunk = assignment.chunk_of(slots, num_experts, threads)
    assert chunk % threads == 0
    assert -(-slots // chunk) <= 256
    assert threads // 32 * num_experts * 4 + num_experts * 8 + 128 <= 48 << 10


@given(st.data())
def test_oracle_by_its_definition(data):
    """Slot by slot in Python, with a row counter for each expert."""
    tokens, top_k, num_experts = (data.draw(st.integers(*bounds)) for bounds in ((0, 9), (1, 4), (1, 6)))
    size = tokens * top_k
    drawn = data.draw(st.lists(st.integers(-2, num_experts + 1), min_size=size, max_size=size))
    ids = np.array(drawn, np.int64).reshape(tokens, top_k)
    counts = [int((ids == expert).sum()) for expert in range(num_experts)]
    for choice in LAYOUTS:
        got = reference.route(ids, num_experts, **choice)
        unit = choice.get("alignment", 1)
        starts = [sum(-(-count // unit) * unit for count in counts[:expert]) for expert in range(num_experts + 1)]
        if got.kind == "masked":
            starts = [3 * expert for expert in range(num_experts + 1)]
        taken = dict.fromkeys(range(num_experts), 0)
        for (token, slot), expert in np.ndenumerate(ids):
            row = -1
            if expert in taken and (got.kind != "masked" or taken[expert] < 3):
                row = starts[expert] + taken[expert]
                taken[expert] += 1
                assert got.token_of_row[row] == token
                assert got.kind != "contiguous" or got.layout[row] == expert
            assert got.row_of_slot[token, slot] == row
        assert (got.token_of_row >= 0).sum() == sum(taken.values())
        described = {"offsets": starts, "masked": list(taken.values()), "contiguous": list(got.layout)}
        assert got.layout.tolist() == described[got.kind]
        assert got.rows == len(got.token_of_row)


def test_contiguous_capacity_is_enough_and_its_end_is_nobodys(rng):
    ids = rng.integers(0, 8, (33, 4))
    got = reference.route(ids, 8, layout="contiguous", alignment=128)
    assert got.rows == -(-(33 * 4 + 8 * 127) // 128) * 128
    assert capacity((1, 2), 256, "contiguous", 128, None).rows == 256  # two slots: two experts at most
    assert capacity((0, 2), 256, "contiguous", 128, None).rows == 0
    first = got.layout.reshape(-1, 128)[:, 0]
    assert sorted(expert for expert in first if expert >= 0) == list(first[: len(set(ids.flat))])
    for block, expert in zip(got.layout.reshape(-1, 128), first, strict=True):
        assert set(block) <= {expert, -1}


@pytest.mark.parametrize("choice", LAYOUTS, ids=lambda choice: choice.get("layout", "offsets"))
def test_there_and_back(choice, rng):
    """With weights of one half and the rows unchanged, two slots give the token itself."""
    ids = np.stack([np.arange(12) % 5, (np.arange(12) + 2) % 5], axis=1)
    routing = reference.route(ids, 5, **({**choice, "max_m": 12} if "max_m" in choice else choice))
    x = reference.encode_bf16(rng.standard_normal((12, 24)))
    rows = reference.permute(x, routing)
    assert rows.shape == ((5, 12, 24) if routing.kind == "masked" else (routing.rows, 24))
    np.testing.assert_array_equal(reference.combine(rows, routing, np.full((12, 2), 0.5)), x)
    dropped = routing._replace(row_of_slot=np.full((12, 2), -1))
    assert not reference.combine(rows, dropped, np.full((12, 2), np.nan)).any()
    data, scales = reference.permute((x.view(np.uint8), np.arange(12.0)[:, None]), routing)
    assert data.shape[:-1] == scales.shape[:-1]
    assert scales.reshape(-1)[routing.row_of_slot[7, 1]] == 7


def test_default_alignment_is_the_products():
    from nvgemm.choice.alignment import get_mk_alignment_for_contiguous_layout

    expected = capacity((3, 2), 4, "contiguous", get_mk_alignment_for_contiguous_layout(), None)
    assert capacity((3, 2), 4, "contiguous", None, None) == expected


def ids(shape=(4, 2), dtype="int32", strides=None, ptr=256):
    return ArrayView(ptr, shape, strides, dtype)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((np.zeros((4, 2), np.int32), 8), {}, TypeError, "topk_ids: host array"),
        ((ids(dtype="float32"), 8), {}, TypeError, "topk_ids: expected int32 or int64, got float32"),
        ((ids((4,)), 8), {}, ValueError, "topk_ids: expected a matrix [T, top_k], got 1 dimensions"),
        ((ids((4, 33)), 8), {}, ValueError, "topk_ids: top_k must be 1 to 32, got top_k=33"),
        ((ids((4, 0)), 8), {}, ValueError, "topk_ids: top_k must be 1 to 32, got top_k=0"),
        ((ids((2**24, 2)), 8), {}, ValueError, "topk_ids: T·top_k must be at most 2^24, got 33554432"),
        ((ids(strides=(3, 1)), 8), {}, ValueError, "topk_ids: expected a C-contiguous array, got strides (3, 1)"),
        ((ids(ptr=258), 8), {}, ValueError, "topk_ids: pointer 0x102 is not 4-byte aligned"),
        ((ids(ptr=0), 8), {}, ValueError, "topk_ids: null pointer"),
        ((ids(), 0), {}, ValueError, "num_experts: expected 1 to 1024, got 0"),
        ((ids(), 1025), {}, ValueError, "num_experts: expected 1 to 1024, got 1025"),
        ((ids(), 8.0), {}, TypeError, "num_experts: expected an int, got 8.0"),
        ((ids(), 8), {"layout": "psum"}, ValueError, "layout: expected 'offsets', 'contiguous' or"),
        ((ids(), 8), {"alignment": 64}, ValueError, "alignment: only layout='contiguous' has one"),
        ((ids(), 8), {"max_m": 64}, ValueError, "max_m: only layout='masked' has one"),
        ((ids(), 8), {"layout": "contiguous", "alignment": 48}, ValueError, "alignment: expected a power of two"),
        ((ids(), 8), {"layout": "contiguous", "alignment": 0}, ValueError, "alignment: expected a power of two"),
        ((ids(), 8), {"layout": "contiguous", "alignment": "x"}, TypeError, "alignment: expected an int, got 'x'"),
        ((ids(), 8), {"layout": "masked"}, ValueError, "max_m: layout='masked' needs it"),
        ((ids(), 8), {"layout": "masked", "max_m": 0}, ValueError, "max_m: expected at least 1 row"),
        ((ids(), 1024), {"layout": "masked", "max_m": 2**21}, ValueError, "2147483648 rows here, and they must be"),
    ],
)  # fmt: skip
def test_route_refuses(arguments, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        moe.route(*arguments, **options)


def routing(tokens=4, top_k=2, rows=8, max_m=None):
    kind = "offsets" if max_m is None else "masked"
    groups = 3 if max_m is None else rows // max_m
    described = (ids((groups + (max_m is None),)), ids((rows,)), ids((tokens, top_k)))
    return moe.Routing(*described, rows, kind, groups, max_m)


def view(shape, dtype="bfloat16", strides=None, ptr=4096):
    return ArrayView(ptr, shape, strides, dtype)


PAIR = view((4, 256), "uint8"), view((4, 2), "float32")


@pytest.mark.parametrize(
    ("x", "given", "error", "message"),
    [
        (np.zeros((4, 16), np.float32), routing(), TypeError, "x: host array"),
        (view((4, 16), "float64"), routing(), TypeError, "x: expected float32 or float16 or bfloat16"),
        (view((4, 4, 16)), routing(), ValueError, "x: expected a matrix [rows, H]"),
        (view((4, 12)), routing(), ValueError, "x: rows must be whole units of 16 bytes, got H=12, 24 bytes"),
        (view((4, 16), strides=(20, 1)), routing(), ValueError, "x: row stride 20 elements is 40 bytes"),
        (view((4, 16), strides=(1, 16)), routing(), ValueError, "x: H must be contiguous (stride 1)"),
        (view((4, 16), ptr=4104), routing(), ValueError, "x: pointer 0x1008 is not 16-byte aligned"),
        (view((5, 16)), routing(), ValueError, "x: expected 4 rows, one for each token of the routing"),
        (view((4, 16)), (1, 2, 3), TypeError, "routing: expected what nvgemm.moe.route returns, got tuple"),
        (view((4, 16)), routing()._replace(rows=9), ValueError, "routing: expected token_of_row [rows] with 9 rows"),
        (view((4, 16)), routing()._replace(row_of_slot=view((4, 2), "int64")), TypeError, "routing.row_of_slot: exp"),
        ((view((4, 256)), PAIR[1]), routing(), TypeError, "x: expected float8_e4m3fn or uint8, got bfloat16"),
        ((PAIR[0], view((4, 3), "float32")), routing(), ValueError, "x scales: expected shape (4, 2)"),
        ((PAIR[0], view((4, 2), "float16")), routing(), TypeError, "x scales: expected float32, got float16"),
        ((PAIR[0],), routing(), TypeError, "x: expected a pair (data, scales), got 1 items"),
        (view((4, 16))._replace(device=1), routing(), ValueError, "operands: all must be on one device"),
    ],
)
def test_permute_refuses(x, given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        moe.permute(x, given)


D, WEIGHTS = view((8, 16)), view((4, 2), "float32", ptr=1 << 20)


@pytest.mark.parametrize(
    ("d", "given", "weights", "out", "error", "message"),
    [
        (view((8, 16), "float32"), routing(), WEIGHTS, None, TypeError, "d: expected bfloat16 or uint16, got float32"),
        (view((9, 16)), routing(), WEIGHTS, None, ValueError, "d: expected [rows, H] with the routing's 8 rows"),
        (view((8, 12)), routing(), WEIGHTS, None, ValueError, "d: rows must be whole units of 16 bytes"),
        (D, routing(max_m=4), WEIGHTS, None, ValueError, "d: expected [G, max_m, H] with G=2, max_m=4"),
        (view((2, 4, 16), strides=(80, 16, 1)), routing(max_m=4), WEIGHTS, None, ValueError, "d: experts must follow"),
        (D, routing(), view((4, 3), "float32"), None, ValueError, "weights: expected shape (4, 2), that of topk_ids"),
        (D, routing(), view((4, 2)), None, TypeError, "weights: expected float32, got bfloat16"),
        (D, routing(), view((4, 2), "float32", (1, 4)), None, ValueError, "weights: expected a C-contiguous array"),
        (D, routing(), np.zeros((4, 2), np.float32), None, TypeError, "weights: host array"),
        (D, routing(), WEIGHTS, view((4, 8)), ValueError, "out: expected shape (4, 16) for T=4, H=16"),
        (D, routing(), WEIGHTS, view((4, 16), "float32"), TypeError, "out: expected bfloat16 or uint16"),
        (D, routing(), WEIGHTS, view((4, 16), strides=(20, 1)), ValueError, "out: row stride 20 elements"),
        (D, routing(), WEIGHTS, view((4, 16), ptr=4096 + 224), ValueError, "out: overlaps d"),
        (D, routing(), WEIGHTS, ArrayView(8192, (4, 16), None, "bfloat16", 0, True), ValueError, "out: the array is"),
        (D, (), WEIGHTS, None, TypeError, "routing: expected what nvgemm.moe.route returns"),
    ],
)  # fmt: skip
def test_combine_refuses(d, given, weights, out, error, message):
    with pytest.raises(error, match=re.escape(message)):
        moe.combine(d, given, weights, out=out)
