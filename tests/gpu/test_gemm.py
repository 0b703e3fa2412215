"""`fp8_gemm_nt` is right: the dense suite and ragged shapes against FP64, exact cases bit for bit, also patched."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pytest
from products import POISON, Guarded, bits_of, build_all, configs, exact, normal, same_bits

import nvgemm
from nvgemm import Array, reference, settings, testing
from nvgemm.bench.suites import DENSE
from nvgemm.choice.problem import Problem
from nvgemm.runtime.gemm_kernel import gemm_kernel

pytestmark = pytest.mark.gpu

WIDTHS = [(8, 16), (8, 2048), (16, 48), (24, 400), (40, 128), (56, 144), (72, 112), (120, 272), (136, 256), (200, 1936),
          (264, 272), (392, 3088), (520, 640), (1000, 1040), (1544, 7152), (2056, 528), (4104, 272)]  # fmt: skip
TOKENS = (1, 7, 63, 65, 129, 191, 257, 299)
RAGGED = [(m, n, k) for n, k in WIDTHS for m in TOKENS]
EVERY_ODD_M = (264, 656)
LARGE = [(4096, 4096, 7168), (2048, 7168, 2048), (4000, 2112, 7168)]
ONE = 0x38  # in E4M3
POLICIES = ("s2e2", "none", "e2p1")


@pytest.fixture(scope="module", autouse=True)
def _built() -> Iterator[None]:
    build_all(configs([*DENSE, *RAGGED, *LARGE, *((m, *EVERY_ODD_M) for m in range(1, 301, 2))]))
    for policy in ("asis", *POLICIES):
        build_all(configs(LARGE), policy)
    yield
    oracle.cache_clear()


@lru_cache(maxsize=1)
def oracle(n: int, k: int):
    from device_oracle import Oracle

    most = max(m for m, *weights in DENSE if weights == [n, k])
    return Oracle(np.random.default_rng([n, k]), most, n, k)


@pytest.mark.parametrize(("m", "n", "k"), DENSE)
def test_dense_suite(m, n, k):
    cupy = pytest.importorskip("cupy")
    tokens = oracle(n, k)
    d = cupy.full((m, n), POISON, cupy.uint16)
    assert nvgemm.fp8_gemm_nt((tokens.a[:m], tokens.sfa[:m]), (tokens.b, tokens.sfb), d) is d
    tokens.check(d)


@pytest.mark.parametrize(("n", "k"), WIDTHS)
def test_ragged(n, k, rng):
    product = normal(rng, max(TOKENS), n, k)
    ref, sums = product.fp64()
    b = product.right()
    for m in TOKENS:
        part, d = product.rows(m), Guarded(m, n)
        nvgemm.fp8_gemm_nt(part.left(), b, d.view)
        testing.assert_close(reference.decode_bf16(d.bits()), ref[:m], sums[:m], blocks=part.sfa.shape[1])


@pytest.mark.parametrize(("n", "k"), WIDTHS)
def test_exact(n, k, rng):
    """Small integers, and scales that are powers of two: one wrong scale or one wrong bit shows."""
    product = exact(rng, max(TOKENS), n, k)
    expected, b = product.bits(), product.right()
    for m in TOKENS:
        part, d = product.rows(m), Guarded(m, n)
        nvgemm.fp8_gemm_nt(part.left(), b, d.view)
        same_bits(d.bits(), expected[:m])


def test_every_odd_m(rng):
    product = exact(rng, 300, *EVERY_ODD_M)
    expected, b = product.bits(), product.right()
    for m in range(1, 301, 2):
        part, d = product.rows(m), Guarded(m, EVERY_ODD_M[0])
        nvgemm.fp8_gemm_nt(part.left(), b, d.view)
        same_bits(d.bits(), expected[:m])


def test_unit_scales(rng):
    product = exact(rng, 257, 1000, 1040)
    product.sfa[:], product.sfb[:] = 1, 1
    same_bits(bits_of(nvgemm.fp8_gemm_nt(*product.pairs())), product.bits())


@pytest.mark.parametrize("shape", [(1, 2112, 7168), (64, 576, 7168), (300, 1544, 7152), *LARGE[:1]], ids=str)
def test_the_same_bits_again(shape, rng):
    product = normal(rng, *shape)
    pairs = product.pairs()
    first = bits_of(nvgemm.fp8_gemm_nt(*pairs))
    for _ in range(20):
        d = Array.from_numpy(np.full(first.shape, POISON, np.uint16))
        same_bits(bits_of(nvgemm.fp8_gemm_nt(*pairs, d)), first)


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_patched_is_raw_bit_for_bit(shape, rng, monkeypatch):
    product, results = normal(rng, *shape), {}
    pairs = product.pairs()
    for policy in ("asis", *POLICIES):
        monkeypatch.setattr(settings, "sass", policy)
        d = Guarded(*shape[:2])
        nvgemm.fp8_gemm_nt(*pairs, d.view)
        results[policy] = d.bits()
        cubin = gemm_kernel(Problem(*shape, True), 0, policy, None).cubin
        changed = cubin.meta["changed_words"]
        assert (cubin.image != cubin.raw) == (changed > 0) == (policy != "asis"), policy
    for policy in POLICIES:
        same_bits(results[policy], results["asis"])


def test_nan_and_infinity_go_where_ieee_says(rng):
    m, n, k = 200, 400, 656
    product = exact(rng, m, n, k)
    for part in (product.a[5], product.b):  # of one sign and not zero: an infinite scale then gives no NaN
        part[:] = np.where(part & 0x7F, part & 0x7F, ONE)
    product.a[3, 500] = 0x7F
    product.a[199, 655] = 0xFF
    product.b[300, 2] = 0x7F
    product.sfa[5, 2] = np.inf
    product.sfa[6, 5] = np.nan
    product.sfb[1, 1] = np.nan
    product.sfa[70], product.a[70] = 2.0**100, 0x7E
    product.sfb[0] = 2.0**33  # 2^100 · 2^33 leaves FP32
    d = Guarded(m, n)
    nvgemm.fp8_gemm_nt(*product.pairs(), d.view)
    got, expected = reference.decode_bf16(d.bits()), reference.gemm(*product.operands())
    beyond = abs(expected) > np.finfo(np.float32).max
    assert np.isnan(expected).any()
    assert beyond.any()
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), beyond)
    finite = np.isfinite(got)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=2**-8)
