"""A product of one of the suites: the problem that it poses, its operands, and a kernel launched on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from nvgemm.bench import suites
from nvgemm.bench.chain import Chain
from nvgemm.bench.contender import Launch
from nvgemm.bench.grouped_operands import ALIGNMENT, Contiguous, Masked, Offsets, aligned_starts
from nvgemm.bench.operands import Operands
from nvgemm.bench.shapes import DenseShape, Shape
from nvgemm.choice import grouped_checks
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime.arrays import view
from nvgemm.runtime.gemm_kernel import GemmKernel

OPERANDS: dict[str, Callable[[Any, Any], Any]] = {
    "dense": Operands,
    "others": Operands,
    "contiguous": Contiguous,
    "masked": Masked,
    "offsets": Offsets,
    "chain": Chain,
}


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

    def operands(self, torch: Any) -> Any:
        """Normal random ones, quantised, on the current GPU."""
        return OPERANDS[self.suite](torch, self.shape)


def launcher(torch: Any, kernel: GemmKernel, operands: Any) -> Launch:
    """What launches `kernel` on the stream that is then current, and gives D."""
    arrays = operands.arrays
    bound = kernel.bind(*(view(x, "operand") for x in arrays))

    def launch() -> Any:
        bound(torch.cuda.current_stream().cuda_stream)
        return arrays[4]

    return launch


def result(operands: Any, launch: Launch) -> Any:
    """The rows of D that count; what was in it before is overwritten."""
    operands.clear()
    return operands.valid(launch())
