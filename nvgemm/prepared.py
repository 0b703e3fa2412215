"""`plan`: a product checked, built, loaded and packed once, to be launched many times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvgemm.choice import checks
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Problem
from nvgemm.dense import (
    NAMES,
    Operands,
    allocate,
    launch,
    launch_transposed,
    prepare,
    scale_bytes,
    warn_of_transpose,
)
from nvgemm.explain import describe
from nvgemm.quantize import transpose
from nvgemm.runtime import driver, streams
from nvgemm.runtime.arrays import view
from nvgemm.runtime.dense_kernel import Binding, DenseKernel

# The kernel, None where nothing is to be multiplied; what it launches, or what first transposes A's scales.
Prepared = tuple[DenseKernel | None, Binding | None, Callable[[int], None] | None]


def plan(
    a: tuple[Any, Any],
    b: tuple[Any, Any],
    d: Any = None,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
) -> Plan:
    """Prepare ``fp8_gemm_nt(a, b, d, recipe=recipe, stream=stream)`` without launching it.

    Shapes, dtypes, layouts and errors are those of `fp8_gemm_nt`. The stream is resolved now: calling the plan launches
    on it, whatever is current then.
    """
    return Plan(a, b, d, recipe, stream)


class Plan:
    """One prepared product. Calling it launches; it keeps its operands alive.

    Attributes
    ----------
    d : device array
        The result, BF16 [M, N].
    problem : Problem
    config : GemmConfig or None
        None where there is nothing to multiply (a size is 0).
    workspace_bytes : int
        Scratch that each launch uses, for scales of A that must be transposed.
    """

    def __init__(self, a: Any, b: Any, d: Any, recipe: tuple[int, int, int] | None, stream: Any) -> None:
        self._recipe, self._stream = recipe, stream
        self._bind(a, b, d, caller=6)

    def _bind(self, a: Any, b: Any, d: Any, caller: int) -> None:
        """`caller`: frames from the warning in `_prepare` up to the user's."""
        objects = (*checks.pair(a, "a"), *checks.pair(b, "b"), d)
        views = [None if x is None else view(x, name) for x, name in zip(objects, NAMES, strict=True)]
        problem = checks.dense(*views, recipe=self._recipe)  # type: ignore[arg-type,misc]
        handle = streams.resolve(self._stream, views, objects)
        if d is None:
            d, views[4] = allocate(problem, objects[0], views[0], handle)
        operands: Operands = tuple(views)  # type: ignore[assignment]
        # The last step that can fail: nothing has changed before.
        self._prepared = _prepare(problem, operands, handle, caller)
        self._operands = operands
        self.a, self.b, self.d, self.problem, self.stream = a, b, d, problem, handle

    def __call__(self, *, a: Any = None, b: Any = None, d: Any = None) -> Any:
        """Launch, after taking other operands where they are given; these are checked as in `plan`. Returns `d`."""
        if a is not None or b is not None or d is not None:
            self._bind(
                self.a if a is None else a,
                self.b if b is None else b,
                self.d if d is None else d,
                caller=5,
            )
        kernel, binding, transpose_to = self._prepared
        if kernel is None:
            launch(self.problem, self._operands, self.stream)
        elif binding is None:
            assert transpose_to is not None
            launch_transposed(kernel, self._operands, self.stream, transpose_to)
        else:
            with driver.context(kernel.device.ordinal):
                kernel.launch(binding, self.stream)
        return self.d

    @property
    def config(self) -> GemmConfig | None:
        kernel = self._prepared[0]
        return None if kernel is None else kernel.config

    @property
    def cubin_path(self) -> Path | None:
        """Folder of the kernel's cache entry; None where it is in memory only or there is no kernel."""
        kernel = self._prepared[0]
        return None if kernel is None else kernel.cubin.path

    @property
    def workspace_bytes(self) -> int:
        return workspace_bytes(self.problem)

    def explain(self) -> str:
        """What will run and why: configuration, tiles and waves, predicted time against the bytes, and the cubin."""
        return describe(self.problem, self._prepared[0])

    def __repr__(self) -> str:
        p, c = self.problem, self.config
        kernel = f"{c.block_m}×{c.block_n}, {c.num_stages} stages" if c else "nothing to multiply"
        return f"<nvgemm.Plan M={p.m} N={p.n} K={p.k}: {kernel}>"


def _prepare(problem: Problem, operands: Operands, stream: int, caller: int) -> Prepared:
    if not problem.m * problem.n * problem.k:
        return None, None, None
    kernel = prepare(problem, operands[0].device, stream)
    if not problem.sfa_mn_major:
        warn_of_transpose(operands[1], stacklevel=caller)
        return kernel, None, transpose(operands[1], stream)
    with driver.context(kernel.device.ordinal):
        return kernel, kernel.bind(*operands), None


def workspace_bytes(problem: Problem) -> int:
    """Scratch that a launch of `problem` uses, in bytes."""
    return 0 if problem.sfa_mn_major else scale_bytes(problem.m, problem.k)
