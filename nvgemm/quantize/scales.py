"""The layout of scales: MN-major, with the row count padded to whole 16-byte units."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_uint32, c_uint64, c_void_p
from typing import Any

from nvgemm.choice import checks, rules
from nvgemm.choice.problem import GRANULARITY, ceil_div, sfa_stride, tma_aligned_size
from nvgemm.quantize.launch import Launch
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.memory import empty_scales
from nvgemm.runtime.streams import resolve

_THREADS, _TILE = 256, 32  # of kernels_cu/transpose_scales.cu


def get_tma_aligned_size(x: int, element_size: int) -> int:
    """Elements that `x` of them take when padded to whole 16-byte units.

    Parameters
    ----------
    x : int
        Elements, such as the rows of A's scales.
    element_size : int
        Bytes of one: 1, 2, 4, 8 or 16.
    """
    return tma_aligned_size(x, element_size)


def get_mn_major_tma_aligned_tensor(sf: Any, *, stream: Any = None) -> Any:
    """Per-row scales in the layout that the product reads without a transpose.

    Parameters
    ----------
    sf : device array, [M, ceil(K/128)] or [G, M, ceil(K/128)]
        FP32, either of the last two axes contiguous.
    stream : int or stream object, optional
        Default: the current stream of the library that `sf` belongs to.

    Returns
    -------
    device array, of the same shape
        `sf` itself where it lies right; else a copy with strides ``(1, align(M, 4))``, zero between its columns;
        matrices of groups lie one after the other.

    Raises
    ------
    TypeError, ValueError
        `sf` is no such array.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.
    """
    source = view(sf, "sf")
    if checks.scales(source):
        return sf
    handle = resolve(stream, (source,), (sf,))
    launch = transpose(source, handle)
    result = empty_scales(sf, source, source.shape, handle)
    launch(view(result, "result").ptr)
    return result


def transform_sf_into_required_layout(
    sf: Any, mn: int, k: int, recipe: tuple[int, int, int] = (1, 128, 128), *, is_sfa: bool = False, stream: Any = None
) -> Any:
    """Scales in the layout that ``fp8_gemm_nt(..., recipe=recipe)`` reads fastest.

    Parameters
    ----------
    sf : device array
        FP32 [mn, ceil(k/128)] where the recipe gives each row a scale; [ceil(mn/128), ceil(k/128)] where 128 rows share
        one.
    mn, k : int
        Shape of the data that the scales belong to.
    recipe : (int, int, int)
        Rows of A, rows of B and elements of K to each scale.
    is_sfa : bool
        The scales are those of A, else those of B.
    stream : int or stream object, optional
        Default: the current stream of the library that `sf` belongs to.

    Returns
    -------
    device array
        Per-row scales as `get_mn_major_tma_aligned_tensor` gives them; block scales are `sf` itself.

    Raises
    ------
    TypeError, ValueError
        `sf` is no such array, or `recipe` gives a scale to other than 1×128 or 128×128 elements.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As `get_mn_major_tma_aligned_tensor`, where the scales must be transposed.
    """
    rows = recipe[0] if is_sfa else recipe[1]
    if recipe[2] != GRANULARITY or rows not in (1, GRANULARITY):
        raise ValueError(f"recipe: scales are for 1×128 or 128×128 elements, got {rows}×{recipe[2]} in {recipe}")
    source = view(sf, "sf")
    if rows == GRANULARITY:
        rules.rank("sf", source.shape, "[ceil(N/128), ceil(K/128)]")
        rules.block_scales("sf", (source.shape, source.strides, source.dtype), mn, k)
        return sf
    checks.scales(source, mn=mn, k=k)
    return get_mn_major_tma_aligned_tensor(sf, stream=stream)


def transpose(source: ArrayView, stream: int) -> Callable[[int], None]:
    """Prepare the copy of checked FP32 scales [M, K blocks], M ≥ 1, or one for each group, to MN-major.

    Returns a function that launches it: it takes the target's pointer, to ``scales_bytes(source.shape)``.
    """
    m, k_blocks = source.shape[-2:]
    row_stride, k_stride = source.strides[-2:]
    groups, group_stride = (source.shape[0], source.strides[0]) if len(source.shape) == 3 else (1, 0)
    rows_contiguous = row_stride == 1 and k_stride != 1
    launch = Launch("transpose_scales", {"ROWS_CONTIGUOUS": rows_contiguous}, source.device, stream)
    grid = groups * ceil_div(sfa_stride(m), _TILE) * ceil_div(k_blocks, _TILE)
    strides = c_uint64(row_stride), c_uint64(k_stride), c_uint64(group_stride), c_uint64(sfa_stride(m))
    sizes = (*strides, c_uint32(m), c_uint32(k_blocks))
    return lambda target: launch(grid, _THREADS, c_void_p(source.ptr), c_void_p(target), *sizes)
