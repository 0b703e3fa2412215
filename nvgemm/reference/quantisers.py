"""The quantisers in NumPy: the same FP32 operations as ``kernels_cu/cast.cuh``, so the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvgemm.quantize import Quantized
from nvgemm.reference.formats import E4M3_MAX, encode_e4m3

BLOCK = 128
_AMAX_FLOOR = np.float32(1e-4)


def per_token_cast_to_fp8(x: Any, *, use_ue8m0: bool = False) -> Quantized:
    """Quantise each 1×128 piece of K of each row, bit for bit as `nvgemm.per_token_cast_to_fp8`.

    Parameters
    ----------
    x : array_like, [M, K]
        FP32, FP16, or BF16 (``ml_dtypes``); other real dtypes are converted to FP32. Any M and K.
    use_ue8m0 : bool
        Round each scale up to a power of two.

    Returns
    -------
    Quantized
        data ``uint8`` [M, K], scales FP32 [M, ceil(K/128)], both C-contiguous.

    Raises
    ------
    ValueError
        `x` is no matrix.
    """
    return _cast(x, 1, use_ue8m0)


def per_block_cast_to_fp8(x: Any, *, use_ue8m0: bool = False) -> Quantized:
    """Quantise each 128×128 block, bit for bit as `nvgemm.per_block_cast_to_fp8`.

    Parameters
    ----------
    x : array_like, [N, K]
        FP32, FP16, or BF16 (``ml_dtypes``); other real dtypes are converted to FP32. Any N and K.
    use_ue8m0 : bool
        Round each scale up to a power of two.

    Returns
    -------
    Quantized
        data ``uint8`` [N, K], scales FP32 [ceil(N/128), ceil(K/128)], both C-contiguous.

    Raises
    ------
    ValueError
        `x` is no matrix.
    """
    return _cast(x, BLOCK, use_ue8m0)


def per_tensor_cast_to_fp8(x: Any) -> Quantized:
    """Quantise with one scale for all: what fine-grained scales are compared with.

    Parameters
    ----------
    x : array_like, [rows, K]
        FP32, FP16, or BF16 (``ml_dtypes``); other real dtypes are converted to FP32. Any shape.

    Returns
    -------
    Quantized
        data ``uint8`` [rows, K], scales FP32 [1, 1].

    Raises
    ------
    ValueError
        `x` is no matrix.
    """
    x = _matrix(x)
    amax = _amax(x.reshape(1, -1), 1).reshape(1, 1)
    return Quantized(*_scale(x, amax, amax, False))


def _cast(x: Any, block_rows: int, use_ue8m0: bool) -> Quantized:
    x = _matrix(x)
    rows, columns = x.shape
    padded = np.pad(x, ((0, -rows % block_rows), (0, -columns % BLOCK)))
    blocks = padded.reshape(padded.shape[0] // block_rows, block_rows, padded.shape[1] // BLOCK, BLOCK)
    amax = _amax(_amax(blocks, 3), 1)
    spread = np.repeat(np.repeat(amax, block_rows, 0)[:rows], BLOCK, 1)[:, :columns]
    return Quantized(*_scale(x, spread, amax, use_ue8m0))


def _matrix(x: Any) -> NDArray[np.float32]:
    x = np.asarray(x).astype(np.float32)
    if x.ndim != 2:
        raise ValueError(f"x: expected a matrix, got shape {x.shape}")
    return x


def _amax(x: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    return np.max(np.abs(x), axis=axis, initial=np.float32(0), where=~np.isnan(x))


def _scale(
    x: NDArray[np.float32], spread_amax: NDArray[np.float32], amax: NDArray[np.float32], use_ue8m0: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    with np.errstate(invalid="ignore"):  # infinity times the reciprocal of an infinite scale is NaN, as on the device
        return encode_e4m3(x * _scale_and_inverse(spread_amax, use_ue8m0)[1]), _scale_and_inverse(amax, use_ue8m0)[0]


def _scale_and_inverse(amax: NDArray[np.float32], use_ue8m0: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    amax = np.maximum(amax, _AMAX_FLOOR)
    scale = amax / np.float32(E4M3_MAX)
    if not use_ue8m0:
        return scale, np.float32(E4M3_MAX) / amax
    power = ((scale.view(np.uint32) + np.uint32(0x7FFFFF)) & np.uint32(0x7F800000)).view(np.float32)
    return power, np.float32(1) / power
