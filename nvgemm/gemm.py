"""Dense products. `fp8_gemm_nt` is the straight line: view, check, choose, build, load, maps, launch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

from nvgemm import settings
from nvgemm.choice import checks
from nvgemm.choice.heuristic import Model, select_config
from nvgemm.choice.problem import Problem, ceil_div, row_stride, sfa_stride
from nvgemm.errors import PerformanceWarning
from nvgemm.quantize import transpose
from nvgemm.runtime import driver, memory, streams
from nvgemm.runtime.allocation import refuse_capture
from nvgemm.runtime.arrays import ArrayView, fingerprint, view
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.dense_kernel import (
    Binding,
    DenseKernel,
    build_config,
    dense_kernel,
    load_dense_kernel,
    transposed_scales,
)

Operands = tuple[ArrayView, ArrayView, ArrayView, ArrayView, ArrayView]
NAMES = ("a", "a scales", "b", "b scales", "d")

# Calls whose operands, down to the pointers, passed every check before: what to launch, and who decides the stream.
_known: dict[tuple[object, ...], tuple[DenseKernel, Binding, Sequence[ArrayView]]] = {}
_MAX_KNOWN = 4096


def fp8_gemm_nt(
    a: tuple[Any, Any],
    b: tuple[Any, Any],
    d: Any = None,
    *,
    recipe: tuple[int, int, int] = checks.RECIPE_1D2D,
    stream: Any = None,
) -> Any:
    """Multiply: ``d[m, n] = Σ_k a[m, k]·sfa[m, k//128] · b[n, k]·sfb[n//128, k//128]``.

    The tensor core sums 128 of K in its own limited precision; these partial sums are scaled and added in FP32
    (two-level accumulation: DeepSeek-V3 technical report, section 3.3.2) and rounded to BF16 once.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [M, K], K contiguous, and FP32 [M, ceil(K/128)]. Scales lie fastest MN-major with the row count padded
        to a multiple of 4, as `per_token_cast_to_fp8` makes them; other layouts are transposed on the device.
    b : (data, scales)
        FP8 E4M3 [N, K], K contiguous, and FP32 [ceil(N/128), ceil(K/128)], any strides.
    d : device array, optional
        BF16 [M, N], N contiguous; rows may be strided by a multiple of 16 bytes. Allocated from the library of `a`'s
        data, in the order of the launch stream, where it is not given.
    recipe : (int, int, int)
        ``(1, 128, 128)``: rows of A, rows of B, and elements of K to a scale.
    stream : int or stream object, optional
        Default: the current stream of the library that `a`'s data belongs to.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to compile, load or allocate.

    Notes
    -----
    Any M ≥ 0, N a multiple of 8, K a multiple of 16. M = 0 or N = 0 does nothing, K = 0 gives zeros. NaN and infinity
    go through as IEEE 754 says. The same inputs and configuration give the same bits.
    """
    (a_data, a_scales), (b_data, b_scales) = checks.pair(a, "a"), checks.pair(b, "b")
    objects = (a_data, a_scales, b_data, b_scales, d)
    seen = (*map(fingerprint, objects, NAMES), recipe, settings.sass)
    known = _known.get(seen)
    if known is not None:
        kernel, binding, ordering = known
        handle = streams.resolve(stream, ordering, objects)
        with driver.context(kernel.device.ordinal):
            kernel.launch(binding, handle)
        return d
    views = [None if x is None else view(x, name) for x, name in zip(objects, NAMES, strict=True)]
    problem = checks.dense(*views, recipe=recipe)  # type: ignore[misc, arg-type]
    handle = streams.resolve(stream, views, objects)
    if d is None:
        d, views[4] = allocate(problem, a_data, views[0], handle)
    launch(problem, tuple(views), handle, remember=seen)  # type: ignore[arg-type]
    return d


def launch(problem: Problem, operands: Operands, stream: int, remember: tuple[object, ...] | None = None) -> None:
    """Launch the product of checked operands on `stream`; under the key `remember` for calls with the same ones."""
    a, sfa, b, sfb, d = operands
    if not problem.m * problem.n * problem.k:
        return _fill_zeros(d, stream)
    kernel = prepare(problem, a.device, stream)
    if not problem.sfa_mn_major:
        warn_of_transpose(sfa)
        return launch_transposed(kernel, operands, stream, transpose(sfa, stream))
    with driver.context(a.device):
        binding = kernel.bind(a, sfa, b, sfb, d)
        kernel.launch(binding, stream)
    if remember is not None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[remember] = kernel, binding, streams.deciding(operands)


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


def warn_of_transpose(sfa: ArrayView) -> None:
    """Say once for each place of a call what would avoid the transpose."""
    warnings.warn(
        f"a scales: strides {sfa.strides} of shape {sfa.shape} are transposed on the device in each call; "
        "nvgemm.get_mn_major_tma_aligned_tensor does it once",
        PerformanceWarning,
        stacklevel=4,  # the caller of fp8_gemm_nt
    )


def build_dense(m: int, n: int, k: int, *, num_sms: int = 132, policy: str | None = None) -> Cubin:
    """The cubin that a product of this shape would launch on a GPU of `num_sms` SMs. Needs no GPU.

    Parameters
    ----------
    m, n, k : int
        Shape of the product; N a multiple of 8, K of 16, none of them 0.
    policy : str, optional
        Policy for the control bits; default: `nvgemm.settings.sass`.
    """
    if min(m, n, k) < 1 or n % 8 or k % 16:
        raise ValueError(f"M, N, K: expected positive sizes, N % 8 == 0 and K % 16 == 0, got {m}, {n}, {k}")
    config = select_config(Problem(m, n, k, True), Model(num_sms=num_sms))
    return build_config(config, settings.sass if policy is None else policy)
