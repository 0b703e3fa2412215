"""Products in FP64 of what quantised operands stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvgemm.choice.checks import RECIPE_1D2D
from nvgemm.reference.formats import decode_e4m3


def dequantise(data: Any, scales: Any, block: tuple[int, int]) -> NDArray[np.float64]:
    """FP64 values of quantised data: each code's value times the scale of its block.

    Parameters
    ----------
    data : array, [rows, K]
        E4M3 codes.
    scales : array_like, [ceil(rows / block[0]), ceil(K / block[1])]
        FP32.
    block : (int, int)
        Rows and columns that share a scale: (1, 128), (128, 128), or the shape of `data` for one scale.

    Returns
    -------
    ndarray of float64, [rows, K]

    Raises
    ------
    TypeError
        The data are not of one byte an element.
    ValueError
        The shape of the scales is another.
    """
    values = decode_e4m3(data).astype(np.float64)
    scales = np.asarray(scales, dtype=np.float64)
    rows, columns = values.shape
    expected = (-(-rows // max(block[0], 1)), -(-columns // max(block[1], 1)))
    if scales.shape != expected:
        raise ValueError(
            f"scales: expected shape {expected} for data {values.shape} in blocks {block}, got {scales.shape}"
        )
    for first in range(0, columns, max(block[1], 1)):
        column = np.repeat(scales[:, first // block[1]], block[0])[:rows, None]
        values[:, first : first + block[1]] *= column
    return values


def gemm(a: Any, sfa: Any, b: Any, sfb: Any, recipe: tuple[int, int, int] = RECIPE_1D2D) -> NDArray[np.float64]:
    """Product ``(a · sfa) @ (b · sfb).T`` in FP64.

    Parameters
    ----------
    a, b : array, [M, K] and [N, K]
        E4M3 codes.
    sfa, sfb : array_like, [ceil(M / recipe[0]), ceil(K / recipe[2])] and [ceil(N / recipe[1]), ceil(K / recipe[2])]
        FP32 scales, one for each `recipe[0]` rows of A, respectively `recipe[1]` rows of B, and `recipe[2]` of K.
    recipe : (int, int, int)
        (1, 128, 128) is 1D2D, (1, 1, 128) is 1D1D. One scale an operand: ``(M, N, K)`` with scales [1, 1].

    Returns
    -------
    ndarray of float64, [M, N]

    Raises
    ------
    TypeError, ValueError
        As `dequantise`, for one of the operands.
    """
    block_a, block_b, block_k = recipe
    with np.errstate(invalid="ignore"):
        return dequantise(a, sfa, (block_a, block_k)) @ dequantise(b, sfb, (block_b, block_k)).T


def absolute_gemm(
    a: Any, sfa: Any, b: Any, sfb: Any, recipe: tuple[int, int, int] = RECIPE_1D2D
) -> NDArray[np.float64]:
    """Σ|a·b| for each element of `gemm`: what an accumulation error is measured against.

    Parameters
    ----------
    a, b : array, [M, K] and [N, K]
        E4M3 codes.
    sfa, sfb : array_like, [ceil(M / recipe[0]), ceil(K / recipe[2])] and [ceil(N / recipe[1]), ceil(K / recipe[2])]
        FP32 scales.
    recipe : (int, int, int)
        As in `gemm`.

    Returns
    -------
    ndarray of float64, [M, N]

    Raises
    ------
    TypeError, ValueError
        As `dequantise`, for one of the operands.
    """
    block_a, block_b, block_k = recipe
    with np.errstate(invalid="ignore"):
        left = np.abs(dequantise(a, sfa, (block_a, block_k)))
        return left @ np.abs(dequantise(b, sfb, (block_b, block_k))).T
