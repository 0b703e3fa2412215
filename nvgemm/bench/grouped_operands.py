"""Operands of grouped products in torch: the tokens of several experts, laid out as each call wants them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import nvgemm
from nvgemm import Quantized
from nvgemm.bench.operands import dequantised_rows, dequantised_weights
from nvgemm.bench.shapes import GroupedShape
from nvgemm.choice.problem import GRANULARITY, align, ceil_div, sfa_stride

ALIGNMENT = 128  # rows: where the groups of the contiguous layout begin


def aligned_starts(sizes: Sequence[int]) -> list[int]:
    """First row of each group in the contiguous layout, and the rows of all together."""
    return [0, *accumulate(align(size, ALIGNMENT) for size in sizes)]


class Grouped:
    """Normal random BF16 matrices, quantised; `first_rows` are those of the groups in the flattened result."""

    def __init__(self, torch: Any, shape: GroupedShape, first_rows: Sequence[int]) -> None:
        self.torch, self.shape, self.name = torch, shape, shape.name
        self.first_rows = first_rows
        rows = [range(first, first + size) for first, size in zip(first_rows, shape.sizes, strict=True)]
        self.valid_rows = torch.cat([torch.arange(part.start, part.stop, device="cuda") for part in rows])
        self.a: Any = None
        self.b = self._weights()
        self.d: Any = None

    def _weights(self) -> Quantized:
        """[G, N, K] with scales 128×128, made group by group: all of them in BF16 would take twice the memory."""
        torch, (n, k) = self.torch, (self.shape.n, self.shape.k)
        groups, blocks = self.shape.groups, (ceil_div(n, GRANULARITY), ceil_div(k, GRANULARITY))
        data = torch.empty(groups, n, k, dtype=torch.float8_e4m3fn, device="cuda")
        scales = torch.empty(groups, *blocks, dtype=torch.float32, device="cuda")
        for group in range(groups):
            cast = nvgemm.per_block_cast_to_fp8(torch.randn(n, k, dtype=torch.bfloat16, device="cuda"))
            data[group].copy_(cast.data)
            scales[group].copy_(cast.scales)
        return Quantized(data, scales)

    def _tokens(self, rows: int) -> Quantized:
        """[rows, K] with scales 1×128, MN-major and padded."""
        x = self.torch.randn(rows, self.shape.k, dtype=self.torch.bfloat16, device="cuda")
        return nvgemm.per_token_cast_to_fp8(x)

    def _result(self, *rows: int) -> Any:
        return self.torch.empty(*rows, self.shape.n, dtype=self.torch.bfloat16, device="cuda")

    def _of_group(self, group: int) -> Quantized:
        """The group's rows of A; here of one tall A, in which they lie as in the result."""
        first = self.first_rows[group]
        rows = slice(first, first + self.shape.sizes[group])
        return Quantized(self.a.data[rows], self.a.scales[rows])

    def clear(self) -> None:
        """Overwrite what a contender before has written."""
        self.d.fill_(float("nan"))

    def valid(self, result: Any) -> Any:
        """The groups' rows of a result, in their order: [valid rows, N]."""
        return result.reshape(-1, self.shape.n)[self.valid_rows]

    def exact(self) -> Any:
        """FP32 products of the block-scaled operands as they are after quantisation: [valid rows, N]."""
        result = self.torch.empty(self.shape.m, self.shape.n, dtype=self.torch.float32, device="cuda")
        for group, part in enumerate(result.split(list(self.shape.sizes))):
            if len(part):
                weights = Quantized(self.b.data[group], self.b.scales[group])
                self.torch.mm(dequantised_rows(self._of_group(group)), dequantised_weights(weights).T, out=part)
        return result


class Contiguous(Grouped):
    """Groups one after the other, each from a multiple of 128 rows on; the rows between are nobody's.

    Attributes
    ----------
    a, b : Quantized
        [M, K] and [G, N, K].
    grouped_layout : torch.Tensor
        int32 [M]: each row's group, −1 where it has none.
    """

    def __init__(self, torch: Any, shape: GroupedShape) -> None:
        *first_rows, rows = aligned_starts(shape.sizes)
        super().__init__(torch, shape, first_rows)
        self.a, self.d = self._tokens(rows), self._result(rows)
        self.grouped_layout = torch.full((rows,), -1, dtype=torch.int32, device="cuda")
        for group, (first, size) in enumerate(zip(first_rows, shape.sizes, strict=True)):
            self.grouped_layout[first : first + size] = group

    @property
    def arrays(self) -> tuple[Any, ...]:
        """In the order of the kernel's parameters."""
        return *self.a, *self.b, self.d, self.grouped_layout


class Offsets(Contiguous):
    """The contiguous layout, for those that need it, and the same tokens without gaps.

    Attributes
    ----------
    dense_a, dense_d : Quantized, torch.Tensor
        [valid rows, K] and [valid rows, N].
    offsets : torch.Tensor
        int32 [G + 1]: first row of each group without gaps, and the end of the last.
    """

    def __init__(self, torch: Any, shape: GroupedShape) -> None:
        super().__init__(torch, shape)
        codes = self.a.data.view(torch.uint8)[self.valid_rows].view(torch.float8_e4m3fn)
        scales = nvgemm.get_mn_major_tma_aligned_tensor(self.a.scales[self.valid_rows].contiguous())
        self.dense_a, self.dense_d = Quantized(codes, scales), self._result(shape.m)
        self.offsets = torch.tensor([0, *accumulate(shape.sizes)], dtype=torch.int32, device="cuda")

    @property
    def arrays(self) -> tuple[Any, ...]:
        return *self.dense_a, *self.b, self.dense_d, self.offsets

    def clear(self) -> None:
        super().clear()
        self.dense_d.fill_(float("nan"))

    def valid(self, result: Any) -> Any:
        return result if result is self.dense_d else super().valid(result)


class Masked(Grouped):
    """A place of `max_m` rows for each group, of which the first are its own.

    Attributes
    ----------
    a, b : Quantized
        [G, max_m, K], scales with strides (ceil(K/128)·align(max_m, 4), 1, align(max_m, 4)), and [G, N, K].
    masked_m : torch.Tensor
        int32 [G]: rows of each group.
    """

    def __init__(self, torch: Any, shape: GroupedShape) -> None:
        groups, max_m = shape.groups, shape.max_m
        if max_m is None:
            raise ValueError(f"shape: {shape.name} states no rows of a group's place")
        super().__init__(torch, shape, range(0, groups * max_m, max_m))
        data = torch.empty(groups, max_m, shape.k, dtype=torch.float8_e4m3fn, device="cuda")
        k_blocks = ceil_div(shape.k, GRANULARITY)
        padded = torch.zeros(groups, k_blocks, sfa_stride(max_m), dtype=torch.float32, device="cuda")
        scales = padded.transpose(1, 2)[:, :max_m]
        for group in range(groups):
            cast = self._tokens(max_m)
            data[group].copy_(cast.data)
            scales[group].copy_(cast.scales)
        self.a, self.d = Quantized(data, scales), self._result(groups, max_m)
        self.masked_m = torch.tensor(shape.sizes, dtype=torch.int32, device="cuda")

    @property
    def arrays(self) -> tuple[Any, ...]:
        """In the order of the kernel's parameters."""
        return *self.a, *self.b, self.d, self.masked_m

    def _of_group(self, group: int) -> Quantized:
        size = self.shape.sizes[group]
        return Quantized(self.a.data[group, :size], self.a.scales[group, :size])
