"""E4M3 and BF16, encoded and decoded on their bits, rounding to nearest even."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

E4M3_MAX = 448.0
E4M3_NAN = 0x7F
_SMALLEST_NORMAL = np.float32(2.0**-6)
_SUBNORMALS_PER_UNIT = np.float32(2.0**9)
_MANTISSA_SHIFT = 23 - 3
_REBIAS = (127 - 7) << 3  # FP32's exponent bias to E4M3's, above three mantissa bits


def codes(data: Any) -> NDArray[np.uint8]:
    """E4M3 codes of `data`: ``uint8``, or any one-byte dtype that tags them, such as ``ml_dtypes.float8_e4m3fn``."""
    array = np.asarray(data)
    if array.dtype.itemsize != 1:
        raise TypeError(f"data: expected E4M3 codes (uint8 or ml_dtypes.float8_e4m3fn), got {array.dtype}")
    return array.view(np.uint8)


def encode_e4m3(values: Any) -> NDArray[np.uint8]:
    """E4M3 codes of real numbers, as ``cvt.rn.satfinite.e4m3x2.f32`` gives them.

    Parameters
    ----------
    values : array_like, [...]
        Any shape. Converted to FP32 first, which is what the instruction takes.

    Returns
    -------
    ndarray of uint8, [...]
        Round to nearest even; beyond ±448, infinity included, ±448; NaN is 0x7F; the sign of zero is kept.
    """
    x = np.asarray(values, dtype=np.float32, order="C")
    bits = x.view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    half = np.uint32((1 << (_MANTISSA_SHIFT - 1)) - 1)
    rounded = (size + half + (size >> _MANTISSA_SHIFT & 1)) >> _MANTISSA_SHIFT
    normal = np.minimum(rounded, _REBIAS + 0x7E) - np.uint32(_REBIAS)
    magnitude = np.abs(x)
    small = magnitude < _SMALLEST_NORMAL
    subnormal = np.rint(np.where(small, magnitude, 0) * _SUBNORMALS_PER_UNIT).astype(np.uint8)
    code = np.where(small, subnormal, normal.astype(np.uint8)) | (bits >> 24 & 0x80).astype(np.uint8)
    return np.where(np.isnan(x), np.uint8(E4M3_NAN), code)


def _e4m3_table() -> NDArray[np.float32]:
    code = np.arange(128)
    exponent, mantissa = code >> 3, code & 7
    normal = np.ldexp(1 + mantissa / 8, exponent - 7)
    positive = np.where(exponent == 0, np.ldexp(mantissa, -9), normal)
    positive[E4M3_NAN] = np.nan
    return np.concatenate([positive, -positive]).astype(np.float32)


E4M3_VALUES = _e4m3_table()
"""Code → value, FP32, all 256; codes 0x7F and 0xFF are NaN."""


def decode_e4m3(data: Any) -> NDArray[np.float32]:
    """Values of E4M3 codes, exact in FP32.

    Parameters
    ----------
    data : array_like, [...]
        Codes of any shape: uint8, or tagged ``ml_dtypes.float8_e4m3fn``. 0x7F and 0xFF are NaN.

    Returns
    -------
    ndarray of float32, [...]

    Raises
    ------
    TypeError
        The data are not of one byte an element.
    """
    return E4M3_VALUES[codes(data)]


def encode_bf16(values: Any) -> NDArray[np.uint16]:
    """BF16 bits of real numbers, as ``cvt.rn.bf16.f32`` gives them.

    Parameters
    ----------
    values : array_like, [...]
        Any shape. Converted to FP32 first.

    Returns
    -------
    ndarray of uint16, [...]
        Round to nearest even; overflow is infinity; NaN is 0x7FFF; the sign of zero is kept.
    """
    x = np.asarray(values, dtype=np.float32, order="C")
    bits = x.view(np.uint32)
    with np.errstate(over="ignore"):  # only NaN patterns wrap
        rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded.astype(np.uint16))


def decode_bf16(bits: Any) -> NDArray[np.float32]:
    """Values of BF16 bits, exact in FP32.

    Parameters
    ----------
    bits : array_like, [...]
        Any shape, on the host: uint16, or tagged ``ml_dtypes.bfloat16``.

    Returns
    -------
    ndarray of float32, [...]
    """
    return (np.asarray(bits).view(np.uint16).astype(np.uint32) << 16).view(np.float32)


def round_to_bf16(values: Any) -> NDArray[np.float32]:
    """Real numbers rounded to BF16, kept in FP32.

    Parameters
    ----------
    values : array_like, [...]
        Any shape. Converted to FP32 first, then rounded as by `encode_bf16`.

    Returns
    -------
    ndarray of float32, [...]
    """
    return decode_bf16(encode_bf16(values))
