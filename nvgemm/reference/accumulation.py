"""What Hopper's tensor core does when it sums FP8 products, emulated bit for bit.

The result of an FP8 WGMMA is FP32 in format only. For 32 of K the 32 products and the accumulator so far are aligned to
the largest of their exponents, each is cut off (toward zero) 13 bits below that exponent, the rest is added exactly,
and the sum is cut off to 13 fraction bits. A product's exponent is the sum of its factors' exponents: the product
itself is not normalised.

Published: DeepSeek-V3 Technical Report (arXiv 2412.19437), section 3.3.2, about 14 bits in accumulation; the alignment
model and its parameters: "MMA-Sim: Bit-Accurate Reference Model of Tensor Cores and Matrix Cores" (2025,
https://github.com/microsoft/MMA-Sim). `tests/gpu/test_reference_on_device.py` compares with the hardware.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvgemm.choice.checks import RECIPE_1D2D
from nvgemm.reference.formats import E4M3_NAN, E4M3_VALUES, codes

_NONE = -100  # exponent of a zero: below that of every product of two factors
_TILE_ROWS, _TILE_COLUMNS = 64, 512  # the working arrays stay in the cache


def _exponent_table() -> NDArray[np.int8]:
    code = np.arange(256) & 0x7F
    exponent = np.maximum(code >> 3, 1) - 7  # subnormals have the smallest normal exponent
    return np.where((code == 0) | (code == E4M3_NAN), _NONE // 2, exponent).astype(np.int8)


_EXPONENTS = _exponent_table()
_FINITE = np.nan_to_num(E4M3_VALUES, nan=0.0)


def tensor_core_accumulate(
    a: Any, b: Any, *, k_group: int = 32, fraction_bits: int = 13, result_bits: int = 13
) -> NDArray[np.float32]:
    """``a @ b.T`` as a chain of FP8 WGMMA instructions into one accumulator gives it, without scales.

    Parameters
    ----------
    a, b : array, [M, K] and [N, K]
        E4M3 codes. K that is not a multiple of `k_group` is continued with zeros.
    k_group : int
        Products that are aligned together with the accumulator: the K of one instruction.
    fraction_bits : int
        Bits that are kept below the largest exponent; at most 16, so that the sums are exact in FP32.
    result_bits : int
        Fraction bits of the accumulator, at most 23.

    Returns
    -------
    ndarray of float32, [M, N]
        NaN where a row of `a` or of `b` holds a NaN.

    Raises
    ------
    TypeError, ValueError
        An operand is not of one byte an element, or the two are no matrices of the same K.

    Notes
    -----
    Takes about a second for 10⁵ outputs and K = 4096.
    """
    a, b = codes(a), codes(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"a, b: expected [M, K] and [N, K], got shapes {a.shape} and {b.shape}")
    result = np.empty((a.shape[0], b.shape[0]), np.float32)
    for row in range(0, a.shape[0], _TILE_ROWS):
        for column in range(0, b.shape[0], _TILE_COLUMNS):
            rows, columns = slice(row, row + _TILE_ROWS), slice(column, column + _TILE_COLUMNS)
            result[rows, columns] = _tile(a[rows].T, b[columns].T, k_group, fraction_bits, result_bits)
    nan_a, nan_b = ((x & 0x7F == E4M3_NAN).any(axis=1) for x in (a, b))
    result[nan_a[:, None] | nan_b] = np.nan
    return result


def _tile(
    a: NDArray[np.uint8], b: NDArray[np.uint8], k_group: int, fraction_bits: int, result_bits: int
) -> NDArray[np.float32]:
    """One tile from codes [K, rows] and [K, columns]."""
    sums = np.zeros((a.shape[1], b.shape[1]), np.float32)
    exponent_a, exponent_b = _EXPONENTS[a][:, :, None], _EXPONENTS[b][:, None, :]
    value_a, value_b = _FINITE[a][:, :, None], _FINITE[b][:, None, :]
    keep = np.uint32(0xFFFFFFFF << (23 - result_bits) & 0xFFFFFFFF)
    for first in range(0, a.shape[0], k_group):
        group = range(first, min(first + k_group, a.shape[0]))
        largest = _largest_exponent(sums, exponent_a, exponent_b, group)
        up = np.ldexp(np.float32(1), fraction_bits - largest)  # 1 / the unit in the last place that is kept
        total = np.trunc(sums * up)
        scaled = np.empty_like(up)
        for k in group:  # powers of two and 8-bit products: every step is exact
            np.multiply(up, value_a[k], out=scaled)
            scaled *= value_b[k]
            total += np.trunc(scaled, out=scaled)
        sums = ((total / up).view(np.uint32) & keep).view(np.float32)
    return sums + np.float32(0)  # the hardware has no negative zero here


def _largest_exponent(
    sums: NDArray[np.float32], exponent_a: NDArray[np.int8], exponent_b: NDArray[np.int8], group: range
) -> NDArray[np.int32]:
    largest = np.full(sums.shape, _NONE, np.int8)
    both = np.empty_like(largest)
    for k in group:
        np.maximum(largest, np.add(exponent_a[k], exponent_b[k], out=both), out=largest)
    of_sums = np.where(sums == 0, _NONE, (sums.view(np.int32) >> 23 & 0xFF) - 127)
    return np.maximum(largest.astype(np.int32), of_sums)


def promoted_gemm(
    a: Any, sfa: Any, b: Any, sfb: Any, recipe: tuple[int, int, int] = RECIPE_1D2D
) -> NDArray[np.float32]:
    """The product in two levels: the tensor core sums 128 of K, FP32 adds each partial sum times its scales.

    Parameters
    ----------
    a, b : array, [M, K] and [N, K]
        E4M3 codes.
    sfa, sfb : array_like, [ceil(M / recipe[0]), ceil(K / recipe[2])] and [ceil(N / recipe[1]), ceil(K / recipe[2])]
        FP32 scales.
    recipe : (int, int, int)
        As in `nvgemm.reference.gemm`.

    Returns
    -------
    ndarray of float32, [M, N]
        Before it is rounded to BF16.

    Raises
    ------
    TypeError, ValueError
        As `tensor_core_accumulate`, or the scales do not match the operands.
    """
    a, b = codes(a), codes(b)
    block_a, block_b, block_k = recipe
    result = np.zeros((a.shape[0], b.shape[0]), np.float32)
    for block in range(-(-a.shape[1] // block_k)):
        columns = slice(block * block_k, (block + 1) * block_k)
        scale_a = np.repeat(np.asarray(sfa, np.float32)[:, block], block_a)[: a.shape[0], None]
        scale_b = np.repeat(np.asarray(sfb, np.float32)[:, block], block_b)[: b.shape[0]]
        partial = tensor_core_accumulate(a[:, columns], b[:, columns])
        scaled = (scale_a * scale_b).astype(np.float64) * partial  # exact: a fused multiply-add rounds once
        result = (scaled + result).astype(np.float32)
    return result
