"""One dense product after its checks: prepare the kernel, allocate the result, launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from nvgemm import settings
from nvgemm.choice.problem import Problem, ceil_div, row_stride, sfa_stride
from nvgemm.errors import PerformanceWarning
from nvgemm.quantize import transpose
from nvgemm.runtime import driver, memory
from nvgemm.runtime.allocation import refuse_capture
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.dense_kernel import Binding, DenseKernel, dense_kernel, load_dense_kernel, transposed_scales

Operands = tuple[ArrayView, ArrayView, ArrayView, ArrayView, ArrayView]
NAMES = ("a", "a scales", "b", "b scales", "d")


def launch(problem: Problem, operands: Operands, stream: int) -> tuple[DenseKernel, Binding] | None:
    """Launch the product of checked operands on `stream`.

    Returns what a call with the same operands can launch at once; None where a launch is not all there is to do.
    """
    a, sfa, b, sfb, d = operands
    if not problem.m * problem.n * problem.k:
        _fill_zeros(d, stream)
        return None
    kernel = prepare(problem, a.device, stream)
    if not problem.sfa_mn_major:
        warn_of_transpose(sfa)
        launch_transposed(kernel, operands, stream, transpose(sfa, stream))
        return None
    with driver.context(a.device):
        binding = kernel.bind(a, sfa, b, sfb, d)
        kernel.launch(binding, stream)
    return kernel, binding


def allocate(problem: Problem, like: Any, view_of: ArrayView | None, stream: int) -> tuple[Any, ArrayView]:
    """A result for `problem` from the library of `like`, whose view is `view_of`, and its view."""
    assert view_of is not None
    driver.require_hopper(view_of.device)
    d = memory.empty(like, view_of, (problem.m, problem.n), "bfloat16", stream)
    return d, view(d, "d")


def prepare(problem: Problem, device: int, stream: int) -> DenseKernel:
    """The loaded kernel for `problem`; it is never built or loaded inside a capture."""
    kernel = dense_kernel(problem, device, settings.sass)
    if kernel is None:
        driver.require_hopper(device)
        with driver.context(device):
            refuse_capture(stream, "its kernel would have to be built or loaded", "call once before the capture")
        kernel = load_dense_kernel(problem, device, settings.sass)
    return kernel


def launch_transposed(
    kernel: DenseKernel, operands: Operands, stream: int, transpose_to: Callable[[int], None]
) -> None:
    """Transpose A's scales into scratch, and launch on these."""
    a, sfa, b, sfb, d = operands
    with memory.scratch_lock, driver.context(d.device):
        ptr = memory.scratch(d.device, stream, scale_bytes(a.shape[0], a.shape[1]))
        transpose_to(ptr)
        kernel.launch(kernel.bind(a, transposed_scales(sfa, ptr), b, sfb, d), stream)


def scale_bytes(m: int, k: int) -> int:
    """Bytes of scratch that transposed scales of A take."""
    return 4 * sfa_stride(m) * ceil_div(k, 128)


def _fill_zeros(d: ArrayView, stream: int) -> None:
    """The result where K = 0; where M or N is 0 there is none."""
    if 0 in d.shape:
        return
    pitch, width = 2 * row_stride(d.shape, d.strides), 2 * d.shape[1]
    with driver.context(d.device):
        fill = driver.cuda().cuMemsetD2D8Async(d.ptr, pitch, 0, width, d.shape[0], stream)
        driver.check(fill, "cuMemsetD2D8Async")


def warn_of_transpose(sfa: ArrayView, stacklevel: int = 4) -> None:
    """Say once for each place of a call what would avoid the transpose."""
    warnings.warn(
        f"a scales: strides {sfa.strides} of shape {sfa.shape} are transposed on the device in each call; "
        "nvgemm.get_mn_major_tma_aligned_tensor does it once",
        PerformanceWarning,
        stacklevel=stacklevel,  # the frame of the public call; 4 above here is that of fp8_gemm_nt
    )
