"""One product's operands in torch, in every form that a contender wants; each is made when it is first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import nvgemm
from nvgemm import Quantized
from nvgemm.bench.shapes import DenseShape
from nvgemm.reference.formats import E4M3_MAX

Scaled = tuple[Any, Any]  # E4M3 data and FP32 scales


def dequantised_rows(a: Quantized) -> Any:
    """FP32 of what has scales 1×128."""
    return a.data.float() * a.scales.repeat_interleave(128, 1)[:, : a.data.shape[1]]


def dequantised_weights(b: Quantized) -> Any:
    """FP32 of what has scales 128×128."""
    n, k = b.data.shape
    return b.data.float() * b.scales.repeat_interleave(128, 0)[:n].repeat_interleave(128, 1)[:, :k]


class Operands:
    """D [m, n] = x [m, k] · w [n, k]ᵀ of normal random BF16 matrices."""

    def __init__(self, torch: Any, shape: DenseShape) -> None:
        m, n, k = shape
        self.torch, self.m, self.n, self.k, self.name = torch, m, n, k, shape.name
        self.x = torch.randn(m, k, dtype=torch.bfloat16, device="cuda")
        self.w = torch.randn(n, k, dtype=torch.bfloat16, device="cuda")
        self.d = torch.empty(m, n, dtype=torch.bfloat16, device="cuda")

    @cached_property
    def a(self) -> Quantized:
        """x with scales 1×128, MN-major and padded."""
        return nvgemm.per_token_cast_to_fp8(self.x)

    @cached_property
    def b(self) -> Quantized:
        """w with scales 128×128."""
        return nvgemm.per_block_cast_to_fp8(self.w)

    @property
    def arrays(self) -> tuple[Any, ...]:
        """In the order of the kernel's parameters."""
        return *self.a, *self.b, self.d

    @cached_property
    def per_tensor(self) -> tuple[Scaled, Scaled]:
        """Both with one scale a matrix."""
        return self._cast(self.x, None), self._cast(self.w, None)

    @cached_property
    def per_row(self) -> tuple[Scaled, Scaled]:
        """Both with a scale a row, [m, 1] and [n, 1]."""
        return self._cast(self.x, 1), self._cast(self.w, 1)

    def _cast(self, matrix: Any, dim: int | None) -> Scaled:
        amax = matrix.abs().amax() if dim is None else matrix.abs().amax(dim, keepdim=True)
        scales = amax.float() / E4M3_MAX
        return (matrix.float() / scales).to(self.torch.float8_e4m3fn), scales

    def clear(self) -> None:
        """Overwrite what a contender before has written."""
        self.d.fill_(float("nan"))

    def valid(self, result: Any) -> Any:
        """The rows of a result that belong to the product: all."""
        return result

    def exact(self) -> Any:
        """FP32 product of the block-scaled operands as they are after quantisation."""
        return dequantised_rows(self.a) @ dequantised_weights(self.b).T
