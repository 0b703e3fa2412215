"""Device memory, by where it comes from: the caller's array library, `nvgemm.Array`, or the kernels' scratch."""

from __future__ import annotations

import sys
from typing import Any

from nvgemm.choice.problem import sfa_stride, sfa_strides
from nvgemm.runtime import driver
from nvgemm.runtime.allocation import refuse_capture
from nvgemm.runtime.arrays import ArrayView
from nvgemm.runtime.device_array import Array as Array
from nvgemm.runtime.dtypes import host_dtype
from nvgemm.runtime.scratch import lock as scratch_lock
from nvgemm.runtime.scratch import scratch as scratch

__all__ = ["Array", "empty", "empty_scales", "scratch", "scratch_lock"]


def empty(like: Any, view: ArrayView, shape: tuple[int, ...], dtype: str, stream: int) -> Any:
    """Uninitialised C-contiguous result from the library that `like` came from; `nvgemm.Array` where it has none.

    It is allocated in the order of the launch stream: a pool that thinks of another stream could hand the block out
    again while the launch still writes to it.

    Parameters
    ----------
    like, view : object, ArrayView
        The operand, and `arrays.view` of it: library and device are taken from them.
    dtype : str
        Such as ``"bfloat16"``; CuPy gets ml_dtypes' type, or uint16 and uint8 where ml_dtypes is not installed.
    stream : int
        Handle of the launch stream.

    Raises
    ------
    RuntimeError
        `stream` is capturing a graph. torch allocates during a capture too, since its graphs have pools of their own.
    """
    if view.owner == "cupy":
        return _from_cupy(view.device, shape, dtype, stream)
    if view.owner == "torch":
        return _from_torch(like, shape, dtype, stream)
    return Array.empty(shape, dtype, stream=stream, device=view.device)


def empty_scales(like: Any, view: ArrayView, shape: tuple[int, ...], stream: int) -> Any:
    """Uninitialised FP32 scales ``[m, k_blocks]``, or so for each group, with the strides `sfa_strides`."""
    *groups, m, k_blocks = shape
    if view.owner in ("cupy", "torch"):
        made = empty(like, view, (*groups, k_blocks, sfa_stride(m)), "float32", stream)
        return made[..., :m].swapaxes(-1, -2)
    return Array.empty(shape, "float32", strides=sfa_strides(shape), stream=stream, device=view.device)


def _from_cupy(device: int, shape: tuple[int, ...], dtype: str, stream: int) -> Any:
    cupy = sys.modules["cupy"]
    cuda = cupy.cuda
    if cuda.runtime.getDevice() != device:
        with cuda.Device(device):
            return _from_cupy(device, shape, dtype, stream)
    with driver.context(device):
        refuse_capture(stream, "its result would have to be allocated", "make it before the capture and pass it as d=")
    if cuda.get_current_stream().ptr == stream:
        return _cupy_empty(cupy, shape, dtype)
    with _cupy_stream(cuda, stream, device):
        return _cupy_empty(cupy, shape, dtype)


def _cupy_empty(cupy: Any, shape: tuple[int, ...], dtype: str) -> Any:
    if dtype == "float8_e4m3fn":  # CuPy 14 has no FP8 type, but lets an array of bytes be viewed as one
        return cupy.empty(shape, "uint8").view(host_dtype(dtype))
    return cupy.empty(shape, host_dtype(dtype))


def _cupy_stream(cuda: Any, stream: int, device: int) -> Any:
    if not stream:
        return cuda.Stream.null
    if hasattr(cuda.Stream, "from_external"):  # CuPy 14
        return cuda.Stream.from_external(_Handle(stream))
    return cuda.ExternalStream(stream, device)


class _Handle:
    def __init__(self, stream: int) -> None:
        self._stream = stream

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._stream


def _from_torch(like: Any, shape: tuple[int, ...], dtype: str, stream: int) -> Any:
    torch = sys.modules["torch"]
    kind, device = getattr(torch, dtype), like.device
    current = torch.cuda.current_stream(device)
    if current.cuda_stream == stream:
        return torch.empty(shape, dtype=kind, device=device)
    launch = torch.cuda.ExternalStream(stream, device=device) if stream else torch.cuda.default_stream(device)
    with torch.cuda.stream(launch):
        made = torch.empty(shape, dtype=kind, device=device)
    made.record_stream(current)  # the caller goes on with it there, and may drop it before that work is done
    return made
