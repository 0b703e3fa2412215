"""TMA tensor maps: what `cp.async.bulk.tensor` needs to know of a matrix, encoded once for each layout and address."""

from __future__ import annotations

import ctypes
from functools import lru_cache

from nvgemm.runtime.driver import check, cuda

TENSOR_MAP_BYTES = 128
_ALIGNMENT = 128  # cuda.h of CUDA 13; cuda.bindings' own objects are aligned to 16 only
_BYTES = {"UINT8": 1, "BFLOAT16": 2, "FLOAT32": 4}


class TensorMap:
    """The 128 bytes of a CUtensorMap in a buffer of their own; `address` is what a kernel parameter points at."""

    __slots__ = ("_buffer", "address")

    def __init__(self, encoded: int) -> None:
        self._buffer = ctypes.create_string_buffer(TENSOR_MAP_BYTES + _ALIGNMENT)
        self.address = -(-ctypes.addressof(self._buffer) // _ALIGNMENT) * _ALIGNMENT
        ctypes.memmove(self.address, encoded, TENSOR_MAP_BYTES)


@lru_cache(maxsize=4096)
def matrix(
    ptr: int, dtype: str, rows: int, columns: int, row_stride: int, box: tuple[int, int], swizzle: int
) -> TensorMap:
    """The map of a row-major matrix.

    Parameters
    ----------
    ptr : int
        Device address, 16-byte aligned.
    dtype : {"UINT8", "BFLOAT16", "FLOAT32"}
        Element type by the driver's name; FP8 is moved as bytes.
    rows, columns, row_stride : int
        In elements; the row stride is a multiple of 16 bytes. Reads past the edge give zeros, writes are dropped.
    box : (int, int)
        Rows and columns of one copy, each at most 256.
    swizzle : int
        0, 32, 64 or 128 bytes.
    """
    driver = cuda()
    encoded = check(
        driver.cuTensorMapEncodeTiled(
            getattr(driver.CUtensorMapDataType, f"CU_TENSOR_MAP_DATA_TYPE_{dtype}"),
            2,
            ptr,
            [driver.cuuint64_t(columns), driver.cuuint64_t(rows)],
            [driver.cuuint64_t(row_stride * _BYTES[dtype])],
            [driver.cuuint32_t(box[1]), driver.cuuint32_t(box[0])],
            [driver.cuuint32_t(1), driver.cuuint32_t(1)],
            driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            getattr(driver.CUtensorMapSwizzle, f"CU_TENSOR_MAP_SWIZZLE_{f'{swizzle}B' if swizzle else 'NONE'}"),
            driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
            driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    )
    return TensorMap(int(encoded.getPtr()))
