"""Names of element types, as ml_dtypes and torch spell them, and their codes in the array protocols."""

from __future__ import annotations

import importlib
from functools import lru_cache
from typing import Any

# Bits, and type code of DLPack 1.1 (https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h, DLDataTypeCode).
_TYPES: dict[str, tuple[int, int]] = {
    "int8": (8, 0),
    "int16": (16, 0),
    "int32": (32, 0),
    "int64": (64, 0),
    "uint8": (8, 1),
    "uint16": (16, 1),
    "uint32": (32, 1),
    "uint64": (64, 1),
    "float16": (16, 2),
    "float32": (32, 2),
    "float64": (64, 2),
    "bfloat16": (16, 4),
    "bool": (8, 6),
    "float8_e4m3": (8, 8),
    "float8_e4m3fn": (8, 10),
    "float8_e4m3fnuz": (8, 11),
    "float8_e5m2": (8, 12),
    "float8_e5m2fnuz": (8, 13),
    "float8_e8m0fnu": (8, 14),
}
_BY_CODE = {(code, bits): name for name, (bits, code) in _TYPES.items()}

# NumPy gives ml_dtypes no letter of their own: E4M3 and BF16 come as raw bytes, E5M2 as a one-byte float.
_BY_TYPESTR = {"V1": "float8_e4m3fn", "V2": "bfloat16", "f1": "float8_e5m2", "b1": "bool"}
_KINDS = {"i": "int", "u": "uint", "f": "float"}


def canonical(dtype: Any) -> str:
    """Name of a dtype given as a string, NumPy dtype, scalar type or torch dtype; the checks judge unknown ones."""
    if isinstance(dtype, str):
        return dtype
    if isinstance(dtype, type):
        return dtype.__name__
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def itemsize(name: str) -> int:
    """Bytes of one element."""
    if name not in _TYPES:
        raise TypeError(f"dtype: {name} is not known")
    return _TYPES[name][0] // 8


def typestr_name(typestr: str, argument: str) -> str:
    """Name for the type string of an array interface, such as ``<f4``."""
    order, code = typestr[:1], typestr[1:]
    if order == ">":
        raise TypeError(f"{argument}: big-endian data ({typestr}) is not supported")
    name = _BY_TYPESTR.get(code) or f"{_KINDS.get(code[:1])}{8 * int(code[1:] or 0)}"
    if name not in _TYPES:
        raise TypeError(f"{argument}: type {typestr} is not known")
    return name


def typestr(name: str) -> str:
    """Type string for the array interface; FP8 and BF16 as raw bytes and words, which every consumer knows."""
    bits, code = _TYPES[name]
    letter = {0: "i", 2: "f", 6: "b"}.get(code, "u")
    return f"{'|' if bits == 8 else '<'}{letter}{bits // 8}"


def dlpack_code(name: str) -> tuple[int, int]:
    """DLPack's type code and bits."""
    bits, code = _TYPES[name]
    return code, bits


def from_dlpack_code(code: int, bits: int, lanes: int, argument: str) -> str:
    """Name for DLPack's type code."""
    name = _BY_CODE.get((code, bits))
    if name is None or lanes != 1:
        raise TypeError(f"{argument}: DLPack type code {code} with {bits} bits and {lanes} lanes is not known")
    return name


@lru_cache(maxsize=32)
def host_dtype(dtype: str) -> Any:
    """What NumPy and CuPy are asked for: ml_dtypes' type for FP8 and BF16, or plain bits where it is not installed."""
    if not dtype.startswith(("float8", "bfloat16")):
        return dtype
    try:
        return getattr(importlib.import_module("ml_dtypes"), dtype)
    except ImportError:
        return f"uint{8 * itemsize(dtype)}"
