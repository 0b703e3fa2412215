"""The tensor core's own accumulation agrees with its emulation, bit for bit, on 10⁵ outputs and more."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nvgemm import reference

pytestmark = pytest.mark.gpu

ROWS = 320  # 320 × 320 = 102,400 outputs


def differing(a, b):
    from unpromoted import unpromoted

    got = unpromoted(a, b)
    with ThreadPoolExecutor() as pool:  # NumPy works outside the GIL
        parts = pool.map(lambda rows: reference.tensor_core_accumulate(rows, b), np.array_split(a, 8))
    expected = np.concatenate(list(parts))
    wrong = got.view(np.uint32) != expected.view(np.uint32)
    return wrong & ~(np.isnan(got) & np.isnan(expected))


def report(wrong):
    return f"{wrong.sum()} of {wrong.size} outputs differ"


@pytest.mark.parametrize("k", [4096, 16384])
def test_quantised_data(k, rng):
    a, b = (reference.per_token_cast_to_fp8(rng.standard_normal((ROWS, k), np.float32)).data for _ in range(2))
    wrong = differing(a, b)
    assert not wrong.any(), report(wrong)


def test_every_code(rng):
    """All exponents, subnormals and both zeros, so that most products are cut off, many of them whole."""
    finite = np.array([code for code in range(256) if code & 0x7F != 0x7F], np.uint8)
    wrong = differing(*rng.choice(finite, (2, ROWS, 4096)))
    assert not wrong.any(), report(wrong)


def test_cancellation(rng):
    """Rows that meet their own negative: the accumulator comes back to the smallest terms."""
    half = reference.encode_e4m3(
        rng.standard_normal((ROWS, 2048), np.float32) * np.exp2(rng.integers(-9, 8, (ROWS, 2048)))
    )
    a = np.concatenate([half, half ^ 0x80], axis=1)
    b = reference.encode_e4m3(rng.standard_normal((ROWS, 2048), np.float32))
    wrong = differing(a, np.concatenate([b, b], axis=1))
    assert not wrong.any(), report(wrong)


def test_nan_in_one_row(rng):
    a, b = rng.integers(0, 0x7F, (2, 64, 256), dtype=np.uint8)
    a[3, 200] = 0xFF
    wrong = differing(a, b)
    assert not wrong.any(), report(wrong)
