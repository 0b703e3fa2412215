"""The quantising kernels compile for sm_90a without spills, and what needs no GPU of their callers is right."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import nvgemm
from nvgemm import ArrayView, Quantized, reference
from nvgemm.quantize import cast, scales
from nvgemm.runtime.build import build
from nvgemm.runtime.sources import kernels_dir

DTYPES = {0: 4, 1: 2, 2: 2}  # INPUT_DTYPE: bytes
CONFIGURATIONS = [
    {"INPUT_DTYPE": dtype, "LOAD_BYTES": load, "POWER_OF_TWO": power}
    for (dtype, size), load, power in product(DTYPES.items(), (16, 8, 4, 2), (False, True))
    if load >= size
]
GPU_TESTS = Path(__file__).resolve().parents[1] / "gpu"


@pytest.mark.usefixtures("cache_dir")
@pytest.mark.parametrize("kernel", ["per_token_cast", "per_block_cast"])
def test_casts_compile_without_spills(kernel):
    for constants in CONFIGURATIONS:
        check(build(kernel, constants), constants)


@pytest.mark.usefixtures("cache_dir")
@pytest.mark.parametrize("rows_contiguous", [False, True])
def test_transpose_compiles_without_spills(rows_contiguous):
    check(build("transpose_scales", {"ROWS_CONTIGUOUS": rows_contiguous}), rows_contiguous)


def check(cubin, constants):
    assert cubin.meta["spilled_bytes"] == 0, constants
    assert cubin.meta["complaints"] == [], constants
    assert cubin.meta["registers"] <= 64, constants  # two CTAs of 512 threads on an SM
    assert cubin.symbol.encode() in cubin.image


def test_test_kernel_is_not_serialised(monkeypatch):
    from nvgemm.runtime.nvrtc import resources

    monkeypatch.syspath_prepend(str(GPU_TESTS))
    from unpromoted import compiled

    found = resources(compiled().log)
    assert found["spilled_bytes"] == 0
    assert found["complaints"] == []


@pytest.mark.parametrize(
    ("kernel", "constant", "value"),
    [
        ("per_token_cast", "NUM_THREADS", cast._TOKEN_THREADS),
        ("per_token_cast", "WARP_ROWS", cast._TOKEN_WARP_ROWS),
        ("per_block_cast", "NUM_THREADS", cast._BLOCK_THREADS),
        ("transpose_scales", "TILE", scales._TILE),
        ("transpose_scales", "NUM_WARPS", scales._THREADS // 32),
    ],
)
def test_launch_geometry_is_the_kernels(kernel, constant, value):
    text = (kernels_dir() / f"{kernel}.cu").read_text()
    assert re.search(rf"\b{constant} = (\d+)", text).group(1) == str(value)


@pytest.mark.parametrize(
    ("ptr", "stride", "rows", "expected"),
    [(0x1000, 128, 4, 16), (0x1008, 128, 4, 8), (0x1004, 128, 4, 4), (0x1002, 128, 4, 2), (0x1000, 130, 4, 4),
     (0x1000, 129, 4, 2), (0x1000, 129, 1, 16), (0x1010, 132, 2, 8)],
)  # fmt: skip
def test_load_width(ptr, stride, rows, expected):
    assert cast._load_bytes(ArrayView(ptr, (rows, 128), (stride, 1), "bfloat16")) == expected


@pytest.mark.parametrize("quantiser", [nvgemm.per_token_cast_to_fp8, nvgemm.per_block_cast_to_fp8])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (
            ArrayView(256, (4, 100), dtype="float32"),
            ValueError,
            "x: K must be a multiple of 16, as in the product, got K=100",
        ),
        (
            ArrayView(256, (4, 128), dtype="float64"),
            TypeError,
            "x: expected float32 or float16 or bfloat16, got float64",
        ),
        (ArrayView(256, (4, 4, 128), dtype="float32"), ValueError, "x: expected a matrix"),
        (ArrayView(256, (128, 64), (1, 128), dtype="float32"), ValueError, "x: K must be contiguous"),
        (ArrayView(258, (4, 128), dtype="float32"), ValueError, "x: pointer 0x102 is not aligned"),
        (np.zeros((4, 128), np.float32), TypeError, "x: host array"),
    ],
)
def test_refusals(quantiser, x, error, message):
    with pytest.raises(error, match=re.escape(message)):
        quantiser(x)


def test_scales_that_lie_right_need_no_device():
    right = ArrayView(4096, (37, 5), (1, 40), "float32")
    assert nvgemm.get_mn_major_tma_aligned_tensor(right) is right
    assert nvgemm.transform_sf_into_required_layout(right, 37, 640, is_sfa=True) is right
    blocks = ArrayView(4096, (3, 5), dtype="float32")
    assert nvgemm.transform_sf_into_required_layout(blocks, 300, 640) is blocks
    rows_of_b = ArrayView(4096, (40, 5), (1, 40), "float32")
    assert nvgemm.transform_sf_into_required_layout(rows_of_b, 40, 640, (1, 1, 128)) is rows_of_b
    assert nvgemm.get_tma_aligned_size(37, 4) == 40
    assert nvgemm.get_tma_aligned_size(37, 1) == 48


@pytest.mark.parametrize(
    ("shape", "recipe", "is_sfa", "message"),
    [
        ((4, 5), (1, 128, 128), True, "sf: expected shape (37, 5)"),
        ((37, 5), (1, 128, 128), False, "sf: expected shape (1, 5)"),
        ((37, 5), (1, 64, 128), False, "recipe: scales are for 1×128 or 128×128 elements, got 64×128"),
        ((37, 10), (1, 128, 64), True, "recipe: scales are for 1×128 or 128×128 elements, got 1×64"),
        ((37,), (1, 128, 128), True, "sf: expected a matrix"),
    ],
)
def test_transform_refusals(shape, recipe, is_sfa, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        nvgemm.transform_sf_into_required_layout(
            ArrayView(4096, shape, dtype="float32"), 37, 640, recipe, is_sfa=is_sfa
        )


def test_dequantize_on_the_host(rng):
    x = rng.standard_normal((130, 272)).astype(np.float32)
    for quantiser, block in (
        (reference.per_token_cast_to_fp8, (1, 128)),
        (reference.per_block_cast_to_fp8, (128, 128)),
    ):
        quantized = quantiser(x)
        assert isinstance(quantized, Quantized)
        expected = reference.dequantise(*quantized, block).astype(np.float32)
        np.testing.assert_array_equal(quantized.dequantize(), expected)
