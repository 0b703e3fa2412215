"""Where the operands of several groups lie, in terms of one tall matrix and the steps from group to group."""

from __future__ import annotations

from ctypes import Structure, c_uint32, c_uint64, c_void_p
from typing import NamedTuple

from nvgemm.choice.problem import row_stride
from nvgemm.runtime.array_view import ArrayView


class Groups(Structure):
    """`Groups` of kernels_cu/grouping.cuh."""

    _fields_ = (
        ("layout", c_void_p),
        ("draws", c_void_p),
        ("sfb", c_uint64),
        ("a", c_uint32),
        ("sfa", c_uint32),
        ("b", c_uint32),
        ("d", c_uint32),
    )


class Tall(NamedTuple):
    """The matrices of all groups as the rows of one."""

    rows: int
    row_stride: int  # elements
    step: int  # rows from one group to the next


def tall(x: ArrayView) -> Tall:
    """Of a checked matrix, or of one for each group."""
    if len(x.shape) == 2:
        return Tall(x.shape[0], row_stride(x.shape, x.strides), 0)
    groups, rows, width = x.shape
    if groups == 1:
        return Tall(rows, row_stride(x.shape[1:], x.strides[1:]), 0)
    stride = x.strides[1] if rows > 1 else x.strides[0]
    if not stride:  # one row, which all groups share
        return Tall(1, width, 0)
    step = x.strides[0] // stride
    return Tall((groups - 1) * step + rows, stride, step)


def group_stride(x: ArrayView) -> int:
    """Elements from one group's to the next one's; 0 where there are none."""
    return x.strides[0] if len(x.shape) == 3 and x.shape[0] > 1 else 0
