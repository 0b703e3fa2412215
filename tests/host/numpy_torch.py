"""As much of torch as operands are made with, over NumPy: what is said to lie on the device lies on the host."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

float8_e4m3fn = np.dtype(ml_dtypes.float8_e4m3fn)
bfloat16 = np.dtype(ml_dtypes.bfloat16)
float32, int32, int64, uint8 = (np.dtype(name) for name in ("float32", "int32", "int64", "uint8"))
_RANDOM = np.random.default_rng(0)


class Tensor(np.ndarray):
    """Methods that NumPy names otherwise or lacks."""

    def float(self) -> Tensor:
        return self.astype(np.float32)

    def norm(self) -> float:
        return float(np.linalg.norm(self.astype(np.float64)))

    def fill_(self, value: float) -> None:
        self.fill(value)

    def copy_(self, other: Any) -> None:
        self[...] = other

    def contiguous(self) -> Tensor:
        return np.ascontiguousarray(self).view(Tensor)

    def transpose(self, first: int, second: int) -> Tensor:
        return np.swapaxes(self, first, second)

    def repeat_interleave(self, times: int, axis: int) -> Tensor:
        return np.repeat(self, times, axis)

    def split(self, sizes: list[int]) -> list[Tensor]:
        return np.split(self, np.cumsum(sizes)[:-1])


def empty(*shape: int, dtype: Any, device: str) -> Tensor:
    return np.full(shape, 77, dtype).view(Tensor)


def zeros(*shape: int, dtype: Any, device: str) -> Tensor:
    return np.zeros(shape, dtype).view(Tensor)


def randn(*shape: int, dtype: Any, device: str) -> Tensor:
    return _RANDOM.standard_normal(shape, np.float32).astype(dtype).view(Tensor)


def full(shape: tuple[int, ...], value: float, dtype: Any, device: str) -> Tensor:
    return np.full(shape, value, dtype).view(Tensor)


def tensor(values: Any, dtype: Any, device: str) -> Tensor:
    return np.array(values, dtype).view(Tensor)


def arange(start: int, stop: int, device: str) -> Tensor:
    return np.arange(start, stop).view(Tensor)


def cat(parts: list[Tensor]) -> Tensor:
    return np.concatenate(parts).view(Tensor)


def mm(a: Tensor, b: Tensor, out: Tensor) -> None:
    np.matmul(a, b, out=out)
