"""`nvgemm.ArrayView`: device memory as numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from nvgemm.runtime.dtypes import canonical


class _Fields(NamedTuple):
    ptr: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    device: int
    readonly: bool
    owner: str
    stream: int | None


class ArrayView(_Fields):
    """Device memory described by numbers: the door for callers without an array library. Immutable; owns nothing.

    Parameters
    ----------
    ptr : int
        Device pointer of the first element.
    shape : tuple of int
        Sizes in elements.
    strides : tuple of int, optional
        In elements, not bytes; C-contiguous by default.
    dtype : str
        Such as ``"float8_e4m3fn"`` (default), ``"float32"``, ``"bfloat16"``.
    device : int
        Ordinal of the device that the pointer belongs to.
    readonly : bool
        Refuse it where a result is to be written.

    Attributes
    ----------
    owner : str
        Who keeps the memory: "cupy", "torch", "nvgemm" (`nvgemm.Array`), "view" or "other".
    stream : int or None
        Stream that the memory came ordered by, where it is known without asking a framework.

    Raises
    ------
    ValueError
        The pointer or a size is negative, or there are more or fewer strides than sizes. What the memory holds, and
        whether it is device memory, is not looked at.
    """

    __slots__ = ()

    def __new__(
        cls,
        ptr: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        dtype: str = "float8_e4m3fn",
        device: int = 0,
        readonly: bool = False,
    ) -> ArrayView:
        shape = tuple(int(size) for size in shape)
        strides = contiguous(shape) if strides is None else tuple(int(stride) for stride in strides)
        if len(strides) != len(shape):
            raise ValueError(f"ArrayView: {len(shape)} dimensions but {len(strides)} strides")
        if ptr < 0 or min(shape, default=0) < 0:
            raise ValueError(f"ArrayView: pointer and sizes are not negative, got ptr={ptr}, shape={shape}")
        fields = (int(ptr), shape, strides, canonical(dtype), int(device), bool(readonly), "view", None)
        return tuple.__new__(cls, fields)


def make(*fields: Any) -> ArrayView:
    """An `ArrayView` of all its fields in order, without the checks: they come from an array library."""
    return tuple.__new__(ArrayView, fields)


@lru_cache(maxsize=1024)
def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """C-contiguous strides, in elements."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
