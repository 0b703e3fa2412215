"""What `nvgemm tune` measures: a product of one of the suites, as the kernel takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import nvgemm
from nvgemm.bench import suites
from nvgemm.bench.grouped_operands import ALIGNMENT, Contiguous, Grouped, Masked, Offsets, aligned_starts
from nvgemm.bench.shapes import DenseShape, GroupedShape, Shape
from nvgemm.choice import grouped_checks
from nvgemm.choice.problem import Grouping, Problem


class Workload(NamedTuple):
    """One product, or those of all groups in the layout that the suite is of."""

    suite: str
    shape: Shape

    @classmethod
    def parse(cls, suite: str, words: list[str]) -> Workload:
        """Of what a command line says.

        Raises
        ------
        ValueError
            It is none of this suite's kind.
        """
        return cls(suite, suites.parse(suite, words))

    @property
    def name(self) -> str:
        return self.shape.name

    @property
    def problem(self) -> Problem:
        """As calls pose it that state the rows of a group as the shape does."""
        if isinstance(self.shape, DenseShape):
            return Problem(*self.shape, True)
        shape, grouping = self.shape, Grouping[self.suite.upper()]
        if grouping is Grouping.CONTIGUOUS:
            groups, m = grouped_checks.Grouped(grouping, ALIGNMENT), aligned_starts(shape.sizes)[-1]
        else:
            groups, m = grouped_checks.Grouped(grouping, expected_m=shape.rows), shape.max_m or shape.m
        return groups.problem(shape.groups, m, shape.n, shape.k)


class Operands(NamedTuple):
    """Arrays in the order of the kernel's parameters: A, its scales, B, its scales, D, and a layout of groups."""

    arrays: tuple[Any, ...]
    valid: Callable[[Any], Any]  # the rows of a result that count

    @property
    def d(self) -> Any:
        return self.arrays[4]


def operands(torch: Any, workload: Workload) -> Operands:
    """Normal random ones, quantised, on the current GPU."""
    shape = workload.shape
    if isinstance(shape, GroupedShape):
        return _grouped(_LAYOUTS[workload.suite](torch, shape))
    m, n, k = shape
    a = nvgemm.per_token_cast_to_fp8(torch.randn(m, k, device="cuda"))
    b = nvgemm.per_block_cast_to_fp8(torch.randn(n, k, device="cuda"))
    d = torch.empty(m, n, dtype=torch.bfloat16, device="cuda")
    return Operands((*a, *b, d), lambda result: result)


_LAYOUTS: dict[str, Callable[[Any, GroupedShape], Grouped]] = {
    "contiguous": Contiguous,
    "masked": Masked,
    "offsets": Offsets,
}


def _grouped(of: Grouped) -> Operands:
    if isinstance(of, Offsets):
        return Operands((*of.dense_a, *of.b, of.dense_d, of.offsets), of.valid)
    if isinstance(of, Contiguous):
        return Operands((*of.a, *of.b, of.d, of.grouped_layout), of.valid)
    assert isinstance(of, Masked)
    return Operands((*of.a, *of.b, of.d, of.masked_m), of.valid)
