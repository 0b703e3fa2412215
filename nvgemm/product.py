"""A product on its way: `admit` the caller's arrays, `prepare` a kernel for them, `Prepared.launch`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nvgemm import settings
from nvgemm.choice import checks
from nvgemm.choice.pointers import NAMES
from nvgemm.choice.problem import Overlap, Problem, row_stride, scales_bytes
from nvgemm.errors import PerformanceWarning
from nvgemm.runtime import driver, sm_limit, streams
from nvgemm.runtime.allocation import refuse_capture
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.gemm_kernel import (
    GemmKernel,
    gemm_kernel,
    load_gemm_kernel,
    loaded_otherwise,
    transposed_scales,
)
from nvgemm.runtime.kernel import Launch

Operands = tuple[ArrayView, ...]  # A, its scales, B, its scales, D, and the layout of the groups where there is one
Check = Callable[[Sequence[ArrayView | None]], Problem]  # refuses operands, or tells the problem that they pose


class Prepared(NamedTuple):
    """Checked operands, and what launches their product."""

    operands: Operands
    kernel: GemmKernel | None = None  # None: a size is 0
    bound: Launch | None = None  # None: A's scales are transposed first, by what follows
    transpose_to: Callable[[int], None] | None = None

    def launch(self, stream: int) -> None:
        """Launch on `stream`, which belongs to the operands' device."""
        operands, kernel, bound, transpose_to = self
        if kernel is None:
            if operands[0].shape[-1] == 0:
                _fill_zeros(operands[4], stream)
        elif bound is None:
            assert transpose_to is not None
            _launch_transposed(kernel, operands, stream, transpose_to)
        else:
            bound(stream)


def dense(recipe: tuple[int, int, int] | None, overlap: Overlap = Overlap.ALONE) -> Check:
    """The check of one dense product."""
    return lambda views: checks.dense(*views, recipe=recipe)._replace(overlap=overlap)  # type: ignore[misc, arg-type]


def admit(
    objects: Sequence[Any], check: Check, stream: Any, num_sms: int | None, names: Sequence[str] = NAMES
) -> tuple[Problem, Operands, int, Any]:
    """The problem that the caller's arrays pose, their views, the stream's handle, and D.

    `objects` are A, its scales, B, its scales, D or None, then D is allocated, from the library of A, and the layout of
    the groups where there is one; `names` are what the caller calls them.
    """
    views = [None if x is None else view(x, name) for x, name in zip(objects, names, strict=True)]
    problem = check(views)
    handle = streams.resolve(stream, views, objects)
    if num_sms is not None:
        sm_limit.within(views[0].device, num_sms)  # type: ignore[union-attr]
    d = objects[4]
    if d is None:
        from nvgemm.runtime import memory  # what few calls need is not imported before the first of them

        a = views[0]
        assert a is not None
        driver.require_hopper(a.device)
        d = memory.empty(objects[0], a, problem.d_shape, "bfloat16", handle)
        views[4] = view(d, "d")
    return problem, tuple(views), handle, d  # type: ignore[arg-type]


def prepare(problem: Problem, operands: Operands, stream: int, num_sms: int | None, stacklevel: int) -> Prepared:
    """Choose, build, load and bind, each where it has not been done before.

    `stacklevel`: frames from this one up to the user's, which a warning names; 1 is this one.
    """
    if not problem.m * problem.n * problem.k * problem.groups:
        return Prepared(operands)
    kernel = ready_kernel(problem, operands[0].device, stream, num_sms)
    if problem.sfa_mn_major:
        return Prepared(operands, kernel, kernel.bind(*operands))
    from nvgemm.quantize import transpose

    sfa = operands[1]
    warnings.warn(
        f"a scales: strides {sfa.strides} of shape {sfa.shape} are transposed on the device in each call; "
        "nvgemm.get_mn_major_tma_aligned_tensor does it once",
        PerformanceWarning,
        stacklevel,
    )
    return Prepared(operands, kernel, None, transpose(sfa, stream))


def ready_kernel(problem: Problem, device: int, stream: int, num_sms: int | None) -> GemmKernel:
    """The loaded kernel for `problem`; never built or loaded inside a capture, where one for other M may stand in."""
    kernel = gemm_kernel(problem, device, settings.sass, num_sms)
    if kernel is None:
        with driver.context(device):
            other = loaded_otherwise(problem, device, settings.sass, num_sms) if driver.is_capturing(stream) else None
            if other is not None:
                return other
            refuse_capture(stream, "its kernel would have to be built or loaded", "call once before the capture")
        kernel = load_gemm_kernel(problem, device, settings.sass, num_sms)
    return kernel


def _launch_transposed(
    kernel: GemmKernel, operands: Operands, stream: int, transpose_to: Callable[[int], None]
) -> None:
    from nvgemm.runtime import memory

    a, sfa, *others = operands
    with memory.scratch_lock:
        ptr = memory.scratch(a.device, stream, scales_bytes(sfa.shape))
        transpose_to(ptr)
        kernel.bind(a, transposed_scales(sfa, ptr), *others)(stream)


def _fill_zeros(d: ArrayView, stream: int) -> None:
    """The result where K = 0; where M or N is 0 there is none."""
    if 0 in d.shape:
        return
    pitch, width = 2 * row_stride(d.shape, d.strides), 2 * d.shape[1]
    with driver.context(d.device):
        fill = driver.cuda().cuMemsetD2D8Async(d.ptr, pitch, 0, width, d.shape[0], stream)
        driver.check(fill, "cuMemsetD2D8Async")
