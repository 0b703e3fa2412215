"""`plan`: a product checked, built, loaded and packed once, to be launched many times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nvgemm.choice import checks
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import H100_CLOCK, predict
from nvgemm.choice.problem import Problem, ceil_div
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
from nvgemm.quantize import transpose
from nvgemm.runtime import driver, streams
from nvgemm.runtime.arrays import view
from nvgemm.runtime.dense_kernel import Binding, DenseKernel, model


def plan(
    a: tuple[Any, Any],
    b: tuple[Any, Any],
    d: Any = None,
    *,
    recipe: tuple[int, int, int] = checks.RECIPE_1D2D,
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

    def __init__(self, a: Any, b: Any, d: Any, recipe: tuple[int, int, int], stream: Any) -> None:
        self._recipe, self._stream = recipe, stream
        self._bind(a, b, d)

    def _bind(self, a: Any, b: Any, d: Any) -> None:
        objects = (*checks.pair(a, "a"), *checks.pair(b, "b"), d)
        views = [None if x is None else view(x, name) for x, name in zip(objects, NAMES, strict=True)]
        problem = checks.dense(*views, recipe=self._recipe)  # type: ignore[arg-type,misc]
        handle = streams.resolve(self._stream, views, objects)
        if d is None:
            d, views[4] = allocate(problem, objects[0], views[0], handle)
        self._views: Operands = tuple(views)  # type: ignore[assignment]
        self._prepare(problem, handle)
        self.a, self.b, self.d, self.problem, self.stream = a, b, d, problem, handle

    def _prepare(self, problem: Problem, stream: int) -> None:
        device = self._views[0].device
        self._kernel = prepare(problem, device, stream) if problem.m * problem.n * problem.k else None
        self._binding: Binding | None = None
        self._transpose: Callable[[int], None] | None = None
        if self._kernel is None:
            return
        if problem.sfa_mn_major:
            with driver.context(device):
                self._binding = self._kernel.bind(*self._views)
        else:
            warn_of_transpose(self._views[1])
            self._transpose = transpose(self._views[1], stream)

    def __call__(self, *, a: Any = None, b: Any = None, d: Any = None) -> Any:
        """Launch, after taking other operands where they are given; these are checked as in `plan`. Returns `d`."""
        if a is not None or b is not None or d is not None:
            self._bind(
                self.a if a is None else a,
                self.b if b is None else b,
                self.d if d is None else d,
            )
        if self._kernel is None:
            launch(self.problem, self._views, self.stream)
        elif self._transpose is not None:
            launch_transposed(self._kernel, self._views, self.stream, self._transpose)
        elif self._binding is not None:
            with driver.context(self._views[0].device):
                self._kernel.launch(self._binding, self.stream)
        return self.d

    @property
    def config(self) -> GemmConfig | None:
        return None if self._kernel is None else self._kernel.config

    @property
    def cubin_path(self) -> Path | None:
        """Folder of the kernel's cache entry; None where it is in memory only or there is no kernel."""
        return None if self._kernel is None else self._kernel.cubin.path

    @property
    def workspace_bytes(self) -> int:
        return workspace_bytes(self.problem)

    def explain(self) -> str:
        """What will run and why: configuration, tiles and waves, predicted time against the bytes, and the cubin."""
        return _explain(self.problem, self._kernel)

    def __repr__(self) -> str:
        p, c = self.problem, self.config
        kernel = f"{c.block_m}×{c.block_n}, {c.num_stages} stages" if c else "nothing to multiply"
        return f"<nvgemm.Plan M={p.m} N={p.n} K={p.k}: {kernel}>"


def workspace_bytes(problem: Problem) -> int:
    """Scratch that a launch of `problem` uses, in bytes."""
    return 0 if problem.sfa_mn_major else scale_bytes(problem.m, problem.k)


def _explain(problem: Problem, kernel: DenseKernel | None) -> str:
    p = problem
    lines = [f"D [{p.m}, {p.n}] = A [{p.m}, {p.k}] · B [{p.n}, {p.k}]ᵀ"]
    if kernel is None:
        return lines[0] + ": nothing to multiply"
    c, device, meta = kernel.config, kernel.device, kernel.cubin.meta
    grid, tiles = c.grid(p.m, device.num_sms), c.num_tiles(p.m)
    waves = ceil_div(tiles, grid)
    clocks = predict(c, p.m, model(device))
    bytes_moved = p.m * p.k + p.n * p.k + 2 * p.m * p.n
    rows = {
        "block": f"{c.block_m}×{c.block_n}×128, {c.num_stages} stages, {c.shared_bytes} bytes of shared memory",
        "consumers": f"{c.num_consumers} warpgroups" + (", which split K" if c.k_split > 1 else ""),
        "cluster": f"{c.cluster_m}×{c.cluster_n}",
        "tiles": f"{tiles} on {grid} CTAs: {waves} waves, {tiles / grid / waves:.0%} full",
        "predicted": f"{clocks / H100_CLOCK * 1e6:.1f} µs",
        "memory": f"{bytes_moved / 1e6:.1f} MB, {bytes_moved / device.memory_bandwidth * 1e6:.1f} µs at the peak",
        "policy": f"{meta['policy']}, {meta['changed_words']} control words changed",
        "compiled": f"NVRTC {meta['compiler']}, {meta['registers']} registers, {meta['spilled_bytes']} bytes spilled",
        "cubin": str(kernel.cubin.path or "in memory only"),
    }
    return "\n".join([*lines, *(f"  {name:<10} {text}" for name, text in rows.items())])
