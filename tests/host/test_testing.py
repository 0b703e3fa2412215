"""The checker accepts what a right kernel gives on any data, and rejects each kind of small mistake."""

from __future__ import annotations

import re

import numpy as np
import pytest

from nvgemm import reference
from nvgemm.testing import assert_close, calc_diff, element_bound, relative_frobenius

M, N, K = 96, 256, 1024


def outliers(rng, shape):
    x = rng.standard_normal(shape)
    x[:, rng.choice(shape[1], max(shape[1] // 200, 1), replace=False)] *= 60
    return x


DATA = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.uniform(0, 1, shape),
    "lognormal": lambda rng, shape: rng.lognormal(0, 1.5, shape),
    "heavy": lambda rng, shape: rng.standard_cauchy(shape),
    "outliers": outliers,
}


class Product:
    """A quantised product: what a right kernel gives, the reference, Σ|a·b|."""

    def __init__(self, rng, kind, m=M, n=N, k=K):
        self.a = reference.per_token_cast_to_fp8(DATA[kind](rng, (m, k)))
        self.b = reference.per_block_cast_to_fp8(DATA[kind](rng, (n, k)))
        self.d = reference.round_to_bf16(reference.promoted_gemm(*self.a, *self.b)).astype(np.float64)
        self.ref = reference.gemm(*self.a, *self.b)
        self.abs_sum = reference.absolute_gemm(*self.a, *self.b)

    def check(self, d, blocks=1):
        assert_close(d, self.ref, self.abs_sum, blocks=blocks)


@pytest.fixture(scope="module")
def normal():
    return Product(np.random.default_rng(1), "normal")


@pytest.mark.parametrize("k", [16, 128, 1024])
@pytest.mark.parametrize("kind", ["normal", "positive", "outliers"])
def test_accepts_the_tensor_cores_own_error(kind, k, rng):
    product = Product(rng, kind, k=k)
    product.check(product.d)
    if kind != "outliers":
        product.check(product.d, blocks=max(k // 128, 1))


@pytest.mark.parametrize("k", [16, 128, 1024])
@pytest.mark.parametrize("kind", ["lognormal", "heavy"])
def test_every_element_of_data_with_tails_is_within_its_bound(kind, k, rng):
    product = Product(rng, kind, k=k)
    assert (abs(product.d - product.ref) <= element_bound(product.ref, product.abs_sum)).all()


def one_element(product):
    d = product.d.copy()
    d[37, 101] += 0.04 * np.sqrt((product.ref**2).mean())
    return d


def one_row_scaled(product):
    d = product.d.copy()
    d[5] *= 1.02
    return d


def one_row_without_the_last_32_of_k(product):
    d = product.d.copy()
    short = (reference.decode_e4m3(product.a.data[5:6, -32:]) * product.a.scales[5:6, -1:]).astype(np.float64)
    rest = reference.dequantise(product.b.data, product.b.scales, (128, 128))[:, -32:]
    d[5] -= (short @ rest.T)[0]
    return d


def one_strip_with_its_neighbours_scale(product):
    scales = product.b.scales.copy()
    scales[0, 3] = scales[1, 3]
    d = product.d.copy()
    d[:, 120:128] = reference.gemm(*product.a, product.b.data, scales)[:, 120:128]
    return d


def one_strip_swapped_with_the_next(product):
    d = product.d.copy()
    d[64:72, 8:16], d[64:72, 16:24] = product.d[64:72, 16:24], product.d[64:72, 8:16]
    return d


def one_element_truncated(product):
    d = product.d.copy()
    d[0, 0] = np.sign(d[0, 0]) * abs(d[0, 0]) * (1 - 2**-5)
    return d


def one_element_never_written(product):
    d = product.d.copy()
    d[M - 1, N - 1] = 0
    return d


@pytest.mark.parametrize(
    "mutant",
    [
        one_element,
        one_row_scaled,
        one_row_without_the_last_32_of_k,
        one_strip_with_its_neighbours_scale,
        one_strip_swapped_with_the_next,
        one_element_truncated,
        one_element_never_written,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_rejects_mutant(mutant, normal):
    normal.check(normal.d, blocks=K // 128)
    with pytest.raises(AssertionError, match=r"^d\[\d+, \d+\] = "):
        normal.check(mutant(normal), blocks=K // 128)


def test_matrix_measures_alone_miss_one_element(normal):
    d = one_element(normal)
    assert calc_diff(d, normal.ref) < 1e-5
    assert relative_frobenius(d, normal.ref) < 2.5e-3


def test_names_the_worst_element_and_the_region(normal):
    d = normal.d.copy()
    d[10:12, 40:48] += 100
    d[11, 47] += 1000
    region = re.escape("16 of 24576 elements are off, in rows 10–11 and columns 40–47")
    with pytest.raises(AssertionError, match=rf"^d\[11, 47\] = .*{region}"):
        normal.check(d)


def test_matrix_measures_catch_what_elements_allow(normal):
    d = normal.ref + 0.99 * element_bound(normal.ref, normal.abs_sum)
    with pytest.raises(AssertionError, match="calc_diff is"):
        normal.check(d)


@pytest.mark.parametrize(("value", "at"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_nan_and_infinity_must_match(normal, value, at):
    d, ref = normal.d.copy(), normal.ref.copy()
    d[3, 4] = value
    with pytest.raises(AssertionError, match=rf"^{at}: 1 of 24576 elements differ, first d\[3, 4\]"):
        assert_close(d, ref, normal.abs_sum)
    ref[3, 4] = value
    assert_close(d, ref, normal.abs_sum)
    d[3, 4] = -1.0
    with pytest.raises(AssertionError, match=at):
        assert_close(d, ref, normal.abs_sum)


def test_infinities_of_the_wrong_sign_differ(normal):
    d, ref = normal.d.copy(), normal.ref.copy()
    d[0, 0], ref[0, 0] = np.inf, -np.inf
    with pytest.raises(AssertionError, match="infinity"):
        assert_close(d, ref, normal.abs_sum)


def test_shapes_must_agree(normal):
    with pytest.raises(AssertionError, match="shapes differ"):
        assert_close(normal.d[:1], normal.ref, normal.abs_sum)


@pytest.mark.parametrize("shape", [(0, 8), (4, 0), (4, 8)])
def test_empty_and_zero_products(shape):
    zero = np.zeros(shape)
    assert_close(zero, zero, zero)
    assert calc_diff(zero, zero) == relative_frobenius(zero, zero) == 0
    if zero.size:
        assert relative_frobenius(zero + 1, zero) == np.inf
        with pytest.raises(AssertionError, match=r"^d\[0, 0\]"):
            assert_close(zero + 1e-30, zero, zero)


def test_calc_diff_is_the_formula(rng):
    x, y = rng.standard_normal((2, 50, 60))
    expected = 1 - 2 * (x * y).sum() / ((x * x).sum() + (y * y).sum())
    assert calc_diff(x, y) == pytest.approx(expected)
