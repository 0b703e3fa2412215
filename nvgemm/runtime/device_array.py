"""`nvgemm.Array`: device arrays for callers without an array library."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nvgemm.runtime import allocation, arrays, dlpack, streams
from nvgemm.runtime.array_view import contiguous, make
from nvgemm.runtime.dtypes import canonical, host_dtype, itemsize, typestr

if TYPE_CHECKING:
    import numpy as np


class Array:
    """Device array without an array library: made by `from_numpy`, `empty`, or as a result; freed on its stream.

    Exports ``__cuda_array_interface__`` (FP8 as bytes, BF16 as 16-bit words) and DLPack.

    Attributes
    ----------
    ptr : int
        Device pointer.
    shape, strides : tuple of int
        Strides count elements.
    dtype : str
        Such as ``"float8_e4m3fn"``.
    device : int
        Ordinal.
    stream : int
        Handle of the stream that it was allocated on and is freed on, which must live as long.
    """

    __slots__ = ("__weakref__", "_block", "_view")

    def __init__(self, block: allocation.Block, shape: tuple[int, ...], strides: tuple[int, ...], dtype: str) -> None:
        self._block = block
        self._view = make(block.ptr, shape, strides, dtype, block.device, False, "nvgemm", block.stream)

    @classmethod
    def empty(
        cls,
        shape: tuple[int, ...],
        dtype: str = "float32",
        *,
        strides: tuple[int, ...] | None = None,
        stream: Any = None,
        device: int = 0,
    ) -> Array:
        """Uninitialised array, allocated in the order of `stream`.

        Parameters
        ----------
        shape : tuple of int
            Sizes in elements.
        dtype : str
            Such as ``"float32"``, ``"bfloat16"``, ``"float8_e4m3fn"``.
        strides : tuple of int, optional
            In elements, not negative; C-contiguous by default.
        stream : int or stream object, optional
            Default: the legacy stream.
        device : int
            Ordinal.

        Raises
        ------
        TypeError, ValueError
            `dtype` or `stream` is not known, or a size, a stride or their number is wrong.
        UnsupportedDeviceError, CudaError
            There is no GPU, or the driver refuses the allocation.
        RuntimeError
            The stream captures a graph.
        """
        shape, dtype = tuple(int(size) for size in shape), canonical(dtype)
        if min(shape, default=0) < 0 or min(strides or (0,)) < 0:
            raise ValueError(f"Array: sizes and strides are not negative, got shape={shape}, strides={strides}")
        strides = contiguous(shape) if strides is None else tuple(strides)
        handle = 0 if stream is None else streams.handle(stream)
        nbytes = _span(shape, strides) * itemsize(dtype)
        return cls(allocation.Block(device, nbytes, handle, stream), shape, strides, dtype)

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any], stream: Any = None, device: int = 0) -> Array:
        """C-contiguous copy of a host array on `device`; the copy has finished on return.

        Parameters
        ----------
        array : ndarray, [...]
            Any shape and strides; float16, float32, float64, integers, bool, or a dtype of ml_dtypes: BF16, FP8.
        stream : int or stream object, optional
            Default: the legacy stream.
        device : int
            Ordinal.

        Raises
        ------
        TypeError
            The dtype is another, or in foreign byte order.
        UnsupportedDeviceError, CudaError, RuntimeError
            As `empty`.
        """
        import numpy as np

        shape = np.shape(array)
        array = np.ascontiguousarray(array)
        if not array.dtype.isnative:
            raise TypeError(f"array: data in foreign byte order ({array.dtype.str}) is not supported")
        made = cls.empty(shape, array.dtype.name, stream=stream, device=device)
        allocation.copy_in(made._block, array.ctypes.data)
        return made

    def to_numpy(self, stream: Any = None) -> np.ndarray[Any, Any]:
        """C-contiguous copy on the host, taken after the work on a stream and waited for.

        FP8 and BF16 come as ml_dtypes' types; without ml_dtypes as uint8 and uint16.

        Parameters
        ----------
        stream : int or stream object, optional
            Default: the array's own.

        Raises
        ------
        RuntimeError
            The stream captures a graph.
        CudaError
            The driver refuses the copy, or earlier work on the stream has failed.
        """
        import numpy as np

        shape, strides, size = self.shape, self.strides, itemsize(self.dtype)
        span = _span(shape, strides)
        host = np.empty(span, dtype=host_dtype(self.dtype))
        handle = self.stream if stream is None else streams.handle(stream)
        allocation.copy_out(host.ctypes.data, self.ptr, span * size, self.device, handle)
        laid_out = np.lib.stride_tricks.as_strided(host, shape, tuple(size * stride for stride in strides))
        return np.ascontiguousarray(laid_out).reshape(shape)

    def view(self, dtype: str) -> Array:
        """The same memory under another dtype.

        Parameters
        ----------
        dtype : str
            Of the same size, such as ``"float8_e4m3fn"`` for bytes.

        Raises
        ------
        TypeError, ValueError
            `dtype` is not known, or of another size.
        """
        if itemsize(dtype) != itemsize(self.dtype):
            raise ValueError(f"dtype: {dtype} and {self.dtype} differ in size")
        return Array(self._block, self.shape, self.strides, dtype)

    @property
    def ptr(self) -> int:
        return self._view.ptr

    @property
    def shape(self) -> tuple[int, ...]:
        return self._view.shape

    @property
    def strides(self) -> tuple[int, ...]:
        return self._view.strides

    @property
    def dtype(self) -> str:
        return self._view.dtype

    @property
    def device(self) -> int:
        return self._view.device

    @property
    def stream(self) -> int:
        return self._block.stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        dense = self.strides == contiguous(self.shape)
        return {
            "shape": self.shape,
            "typestr": typestr(self.dtype),
            "data": (self.ptr, False),
            "strides": None if dense else tuple(itemsize(self.dtype) * stride for stride in self.strides),
            "version": 3,
            "stream": self.stream or 1,
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        return dlpack.CUDA, self.device

    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        if copy or dl_device not in (None, self.__dlpack_device__()):
            raise BufferError("nvgemm.Array exports its own memory only: no copy, no other device")
        if stream != -1:  # -1: the consumer orders its work itself; None: it works on the legacy stream
            allocation.order_after(0 if stream is None else streams.handle(stream), self.stream, self.device)
        return dlpack.export(self, self._view, max_version)

    def __repr__(self) -> str:
        return f"nvgemm.Array(shape={self.shape}, dtype={self.dtype}, device={self.device})"


arrays.register(Array, lambda x, name: x._view)


def _span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last, both included."""
    if math.prod(shape) == 0:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
