"""Rows of D that belong to no group."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64, c_void_p

from nvgemm.choice.problem import Grouping, Problem, ceil_div, row_stride
from nvgemm.quantize.launch import Launch
from nvgemm.runtime.arrays import ArrayView

_WARPS = 8  # NUM_WARPS of kernels_cu/zero_padding.cu


def zero_padding(problem: Problem, layout: ArrayView, d: ArrayView, stream: int) -> None:
    """Write zeros to the rows of `d` that `layout` gives to nobody; both are checked."""
    if 0 in d.shape:
        return
    constants = {
        "ROWS_NAME_GROUPS": problem.grouping is Grouping.CONTIGUOUS,
        "NUM_GROUPS": problem.groups,
        "ALIGNMENT": problem.alignment,
    }
    launch = Launch("zero_padding", constants, d.device, stream)
    values = c_uint64(row_stride(d.shape, d.strides)), c_uint32(problem.m), c_uint32(problem.n)
    launch(ceil_div(problem.m, _WARPS), 32 * _WARPS, c_void_p(layout.ptr), c_void_p(d.ptr), *values)
