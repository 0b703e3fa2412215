"""The oracle against ml_dtypes, against Python's exact fractions, and against its own definitions."""

from __future__ import annotations

from fractions import Fraction
from math import frexp, trunc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nvgemm import Quantized, reference

CODES = np.arange(256, dtype=np.uint8)
FINITE = CODES[CODES & 0x7F != 0x7F]
FLOATS = hnp.arrays(np.float32, 64, elements=st.floats(width=32, allow_nan=False))


def test_e4m3_values_are_ml_dtypes():
    np.testing.assert_array_equal(reference.decode_e4m3(CODES), CODES.view(ml_dtypes.float8_e4m3fn).astype(np.float32))
    np.testing.assert_array_equal(
        reference.decode_e4m3(CODES.view(ml_dtypes.float8_e4m3fn)), reference.decode_e4m3(CODES)
    )


def test_e4m3_encodes_its_own_values():
    np.testing.assert_array_equal(reference.encode_e4m3(reference.decode_e4m3(FINITE)), FINITE)


def test_e4m3_ties_go_to_even():
    positive = np.sort(reference.decode_e4m3(FINITE[:127]))
    middle = (positive[1:] + positive[:-1]) / 2
    got = reference.encode_e4m3(middle)
    assert (got % 2 == 0).all()
    np.testing.assert_array_equal(got, middle.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))
    for off, expected in ((np.float32(0), FINITE[:126]), (np.float32(np.inf), FINITE[1:127])):
        np.testing.assert_array_equal(reference.encode_e4m3(np.nextafter(middle, off)), expected)


@given(FLOATS)
def test_e4m3_rounds_as_ml_dtypes_and_saturates(x):
    clipped = np.clip(x, -448, 448)  # ml_dtypes gives NaN beyond
    np.testing.assert_array_equal(reference.encode_e4m3(x), clipped.astype(ml_dtypes.float8_e4m3fn).view(np.uint8))


def test_e4m3_of_special_values():
    got = reference.encode_e4m3([np.nan, -np.nan, np.inf, -np.inf, 464, 1e38, 0.0, -0.0, 2**-10, 1.5 * 2**-10])
    assert got.tolist() == [0x7F, 0x7F, 0x7E, 0xFE, 0x7E, 0x7E, 0, 0x80, 0, 1]
    assert reference.encode_e4m3(1.0).shape == ()


@given(FLOATS)
def test_bf16_rounds_as_ml_dtypes(x):
    with np.errstate(over="ignore"):
        expected = x.astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(reference.encode_bf16(x), expected.view(np.uint16))
    np.testing.assert_array_equal(reference.round_to_bf16(x), expected.astype(np.float32))


def test_bf16_decodes_all_codes():
    bits = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal(reference.decode_bf16(bits), bits.view(ml_dtypes.bfloat16).astype(np.float32))
    assert reference.encode_bf16(np.nan) == 0x7FFF


@pytest.mark.parametrize("use_ue8m0", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=lambda dtype: np.dtype(dtype).name)
def test_quantisers_by_their_definition(dtype, use_ue8m0, rng):
    x = (rng.standard_normal((130, 272)) * np.exp2(rng.integers(-9, 9, (130, 1)))).astype(dtype)
    for cast, rows in ((reference.per_token_cast_to_fp8, 1), (reference.per_block_cast_to_fp8, 128)):
        data, scales = cast(x, use_ue8m0=use_ue8m0)
        assert scales.shape == (-(-130 // rows), 3)
        for (i, j), scale in np.ndenumerate(scales):
            piece = np.s_[i * rows : (i + 1) * rows, j * 128 : (j + 1) * 128]
            values = x[piece].astype(np.float32)
            amax = np.maximum(np.abs(values).max(), np.float32(1e-4))
            expected = amax / np.float32(448)
            if use_ue8m0:
                expected = np.float32(2.0 ** int(np.ceil(np.log2(float(expected)))))
            inverse = np.float32(1) / expected if use_ue8m0 else np.float32(448) / amax
            assert scale == expected
            np.testing.assert_array_equal(data[piece], reference.encode_e4m3(values * inverse))


@pytest.mark.parametrize("use_ue8m0", [False, True])
def test_quantised_is_within_half_a_step(use_ue8m0, rng):
    x = rng.standard_normal((256, 384)).astype(np.float32)
    quantized = reference.per_token_cast_to_fp8(x, use_ue8m0=use_ue8m0)
    scales = np.repeat(quantized.scales, 128, axis=1)
    allowed = np.maximum(np.abs(x) * 2.0**-4, scales * 2.0**-10) * (1 + 1e-6)
    assert (np.abs(quantized.dequantize() - x) <= allowed).all()


def test_a_nan_leaves_its_block_alone(rng):
    x = rng.standard_normal((128, 256)).astype(np.float32)
    for cast in (reference.per_token_cast_to_fp8, reference.per_block_cast_to_fp8):
        clean = x.copy()
        clean[3, 5] = 0
        with_nan = x.copy()
        with_nan[3, 5] = np.nan
        (data, scales), (expected, expected_scales) = cast(with_nan), cast(clean)
        assert data[3, 5] == 0x7F
        data[3, 5] = 0
        np.testing.assert_array_equal(data, expected)
        np.testing.assert_array_equal(scales, expected_scales)


def test_an_infinity_makes_its_block_nan(rng):
    x = rng.standard_normal((2, 256)).astype(np.float32)
    x[0, 5] = -np.inf
    quantized = reference.per_token_cast_to_fp8(x)
    assert quantized.scales[0, 0] == np.inf
    nan = np.isnan(quantized.dequantize())
    assert nan[0, :128].all()
    assert nan.sum() == 128


def test_zeros_have_the_smallest_scale():
    data, scales = reference.per_token_cast_to_fp8(np.zeros((2, 16)))
    assert not data.any()
    assert (scales == np.float32(1e-4) / np.float32(448)).all()


@pytest.mark.parametrize("shape", [(0, 256), (5, 0), (0, 0)])
def test_empty_matrices(shape):
    for cast in (reference.per_token_cast_to_fp8, reference.per_block_cast_to_fp8, reference.per_tensor_cast_to_fp8):
        assert cast(np.zeros(shape)).data.shape == shape
    a, b = reference.per_token_cast_to_fp8(np.zeros(shape)), reference.per_block_cast_to_fp8(np.ones((8, shape[1])))
    for product in (reference.gemm, reference.absolute_gemm, reference.promoted_gemm):
        assert product(*a, *b).shape == (shape[0], 8)
        assert not product(*a, *b).any()


def test_gemm_is_the_product_of_what_was_quantised(rng):
    x, w = rng.standard_normal((17, 272)), rng.standard_normal((136, 272))
    a, b = reference.per_token_cast_to_fp8(x), reference.per_block_cast_to_fp8(w)
    got = reference.gemm(*a, *b)
    np.testing.assert_allclose(got, a.dequantize().astype(float) @ b.dequantize().astype(float).T, rtol=1e-5, atol=1e-4)
    assert np.linalg.norm(got - x @ w.T) < 0.05 * np.linalg.norm(x @ w.T)
    rows = reference.per_token_cast_to_fp8(w)
    np.testing.assert_allclose(
        reference.gemm(*a, *rows, recipe=(1, 1, 128)), a.dequantize().astype(float) @ rows.dequantize().T, atol=1e-4
    )
    assert (reference.absolute_gemm(*a, *b) >= np.abs(got) * (1 - 1e-12)).all()


def test_fine_scales_beat_one_scale_where_rows_differ_in_size(rng):
    x, w = rng.standard_normal((64, 1024)), rng.standard_normal((64, 1024))
    x[0] *= 2.0**16
    exact = x @ w.T
    fine = reference.gemm(*reference.per_token_cast_to_fp8(x), *reference.per_block_cast_to_fp8(w))
    a, b = reference.per_tensor_cast_to_fp8(x), reference.per_tensor_cast_to_fp8(w)
    coarse = reference.gemm(*a, *b, recipe=(64, 64, 1024))
    assert 3 * np.linalg.norm((fine - exact)[1:]) < np.linalg.norm((coarse - exact)[1:])


def test_wrong_scale_shape_is_named():
    a = Quantized(np.zeros((4, 256), np.uint8), np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match=r"scales: expected shape \(4, 2\) for data \(4, 256\)"):
        reference.gemm(*a, *a)
    with pytest.raises(TypeError, match="data: expected E4M3 codes"):
        reference.decode_e4m3(np.zeros(4, np.float32))


def accumulate_exactly(a, b, k_group=32, fraction_bits=13, result_bits=13):
    """The model once more, for one output, on exact fractions."""
    total = Fraction(0)
    for first in range(0, len(a), k_group):
        terms = [(total, frexp(total)[1] - 1)] if total else []
        for x, y in zip(a[first : first + k_group], b[first : first + k_group], strict=True):
            if x and y:
                exponent = sum(max(frexp(z)[1] - 1, -6) for z in (float(x), float(y)))
                terms.append((Fraction(float(x)) * Fraction(float(y)), exponent))
        if terms:
            unit = Fraction(2) ** (max(exponent for _, exponent in terms) - fraction_bits)
            total = sum(trunc(value / unit) for value, _ in terms) * unit
        if total:
            unit = Fraction(2) ** (frexp(total)[1] - 1 - result_bits)
            total = trunc(total / unit) * unit
    return float(total)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(32, 13, 13), (16, 12, 23), (64, 14, 13)]))
def test_accumulation_is_the_model_on_exact_fractions(seed, parameters):
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 0x7E)
    a, b = (
        rng.integers(low, 0x7F, (3, 100), dtype=np.uint8) | rng.choice([0, 0x80], (3, 100)).astype(np.uint8)
        for _ in "ab"
    )
    a[rng.random(a.shape) < 0.2] = 0
    k_group, fraction_bits, result_bits = parameters
    got = reference.tensor_core_accumulate(a, b, k_group=k_group, fraction_bits=fraction_bits, result_bits=result_bits)
    left, right = reference.decode_e4m3(a), reference.decode_e4m3(b)
    expected = [[accumulate_exactly(x, y, *parameters) for y in right] for x in left]
    np.testing.assert_array_equal(got, expected)


def test_accumulation_is_exact_where_nothing_is_cut_off(rng):
    a, b = (reference.encode_e4m3(rng.integers(-4, 5, (70, 600))) for _ in "ab")
    expected = reference.decode_e4m3(a) @ reference.decode_e4m3(b).T
    np.testing.assert_array_equal(reference.tensor_core_accumulate(a, b), expected)
    assert not np.signbit(reference.tensor_core_accumulate(a[:1] * 0, b)).any()


def test_accumulation_cuts_off_small_products():
    one, tiny = reference.encode_e4m3(1.0), reference.encode_e4m3(2.0**-7)
    a = np.full((1, 32), tiny)
    a[0, 0] = one
    assert reference.tensor_core_accumulate(a, a) == 1  # 2⁻¹⁴ is below the 13 bits that are kept
    assert reference.tensor_core_accumulate(a, a, fraction_bits=14, result_bits=14) == 1 + 31 * 2.0**-14


def test_accumulation_loses_what_promotion_keeps(rng):
    a, b = (reference.per_token_cast_to_fp8(rng.uniform(0.5, 1, (8, 4096))) for _ in "ab")
    exact = reference.gemm(*a, *b, recipe=(1, 1, 128))
    promoted = reference.promoted_gemm(*a, *b, recipe=(1, 1, 128))
    assert np.abs(promoted / exact - 1).max() < 1.5e-3
    codes = [reference.decode_e4m3(x.data).astype(float) for x in (a, b)]
    chain = reference.tensor_core_accumulate(a.data, b.data)
    assert np.abs(chain / (codes[0] @ codes[1].T) - 1).max() > 4e-3


def test_nan_fills_its_row_or_column():
    a, b = np.zeros((3, 32), np.uint8), np.zeros((4, 32), np.uint8)
    a[1, 7], b[2, 9] = 0x7F, 0xFF
    expected = np.zeros((3, 4), bool)
    expected[1], expected[:, 2] = True, True
    np.testing.assert_array_equal(np.isnan(reference.tensor_core_accumulate(a, b)), expected)
