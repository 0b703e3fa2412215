"""What callers hand in, as pointer, shape, strides, dtype and device: `view` never copies, moves or synchronises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from nvgemm.errors import CudaError
from nvgemm.runtime import driver
from nvgemm.runtime.array_view import ArrayView as ArrayView
from nvgemm.runtime.array_view import contiguous, make
from nvgemm.runtime.dtypes import canonical, itemsize, typestr_name


@lru_cache(maxsize=4096)
def _in_elements(strides: tuple[int, ...], size: int, name: str) -> tuple[int, ...]:
    if any(stride % size for stride in strides):
        raise ValueError(f"{name}: strides {strides} are not multiples of the element size, {size} bytes")
    return tuple(stride // size for stride in strides)


def view(x: Any, name: str) -> ArrayView:
    """Describe an operand without copying it.

    Parameters
    ----------
    x : ArrayView, nvgemm.Array, CuPy array, torch tensor, or any object with ``__cuda_array_interface__``
        or ``__dlpack__`` on a CUDA device.
    name : str
        What the caller calls it, for error messages.

    Raises
    ------
    TypeError
        It is no device array; host arrays get the way out.
    """
    door = _doors.get(type(x))
    if door is None:
        door = _find_door(x)
    return door(x, name)


def fingerprint(a: Any, b: Any, d: Any) -> tuple[Any, ...] | None:
    """What `view` reads of two pairs of CuPy arrays and of `d`, unprocessed, in less than half its time.

    Equal fingerprints have equal views. `d` can be None, a result that is to be allocated. None where any of them is
    something else.
    """
    try:
        (x, sfa), (y, sfb) = a, b
    except (TypeError, ValueError):  # no pairs; the checks will say so
        return None
    kind = type(x)
    if (
        type(sfa) is not kind
        or type(y) is not kind
        or type(sfb) is not kind
        or (d is not None and type(d) is not kind)
        or (_doors.get(kind) or _find_door(x)) is not _from_cupy
    ):
        return None
    at_x = x.data
    # Written out: a loop takes half as long again. Of contiguous arrays the shape tells the strides; to read and hash
    # the flag takes half as long as a tuple. Of arrays on several devices no two have one address.
    # fmt: off
    inputs = (
        at_x.ptr, at_x.device_id, x.shape, x._c_contiguous or x.strides, x.dtype,
        sfa.data.ptr, sfa.shape, sfa._f_contiguous or sfa.strides, sfa.dtype,
        y.data.ptr, y.shape, y._c_contiguous or y.strides, y.dtype,
        sfb.data.ptr, sfb.shape, sfb._c_contiguous or sfb.strides, sfb.dtype,
    )
    if d is None:
        return inputs
    return (inputs, d.data.ptr, d.shape, d._c_contiguous or d.strides, d.dtype)
    # fmt: on


def views(objects: Sequence[Any], names: Sequence[str]) -> tuple[ArrayView | None, ...]:
    """`view` of each, None of None."""
    return tuple(None if x is None else view(x, name) for x, name in zip(objects, names, strict=True))


def _find_door(x: Any) -> Callable[[Any, str], ArrayView]:
    kind = type(x)
    roots = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "cupy" in roots and hasattr(x, "data") and hasattr(x, "strides"):
        door = _from_cupy
    elif "torch" in roots and hasattr(x, "data_ptr"):
        door = _from_torch
    elif "numpy" in roots:
        door = _refuse_host
    elif hasattr(x, "__cuda_array_interface__"):
        return _from_interface
    elif hasattr(x, "__dlpack__"):
        return _from_dlpack
    else:
        return _refuse
    _doors[kind] = door
    return door


def _from_cupy(x: Any, name: str) -> ArrayView:
    data = x.data
    dtype = x.dtype
    strides = x.strides
    known = _numpy_dtypes.get(dtype)
    if known is None:
        known = _numpy_dtypes[dtype] = (dtype.name, dtype.itemsize)
    label, size = known
    if size != 1:
        strides = _in_elements(strides, size, name)
    fields = (data.ptr, x.shape, strides, label, data.device_id, False, "cupy", None)
    return tuple.__new__(ArrayView, fields)


def _from_torch(x: Any, name: str) -> ArrayView:
    if not x.is_cuda:
        raise TypeError(f"{name}: host tensor (on {x.device}); pass {name}.cuda()")
    if name == "d" and x.requires_grad:
        raise ValueError("d: the tensor requires grad; pass d.detach(), nothing is recorded for backward")
    dtype = canonical(x.dtype)
    return make(x.data_ptr(), tuple(x.shape), tuple(x.stride()), dtype, x.get_device(), False, "torch", None)


def _from_interface(x: Any, name: str) -> ArrayView:
    """CUDA Array Interface, version 3: https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html"""
    interface = x.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError(f"{name}: masked arrays are not supported")
    ptr, readonly = interface["data"]
    shape = tuple(interface["shape"])
    dtype = typestr_name(interface["typestr"], name)
    strides = interface.get("strides")
    strides = contiguous(shape) if strides is None else _in_elements(tuple(strides), itemsize(dtype), name)
    stream = interface.get("stream")
    if stream == 0:
        raise ValueError(f"{name}: __cuda_array_interface__ gives stream 0, which it does not allow (1 is legacy)")
    try:
        device = driver.pointer_device(ptr) if ptr else 0
    except CudaError as error:
        raise ValueError(f"{name}: {ptr:#x}, of its __cuda_array_interface__, is no device pointer") from error
    return make(ptr or 0, shape, strides, dtype, device, bool(readonly), "other", 0 if stream == 1 else stream)


def _from_dlpack(x: Any, name: str) -> ArrayView:
    from nvgemm.runtime import dlpack

    kind, device = x.__dlpack_device__()
    if kind not in dlpack.DEVICE_KINDS:
        return _refuse_host(x, name)
    ptr, shape, strides, dtype, readonly = dlpack.read(x, name)
    return make(ptr, shape, contiguous(shape) if strides is None else strides, dtype, device, readonly, "other", None)


def _refuse_host(x: Any, name: str) -> ArrayView:
    kind = type(x)
    raise TypeError(
        f"{name}: host array ({kind.__module__.partition('.')[0]}.{kind.__name__}); "
        f"nvgemm.Array.from_numpy({name}) copies it to the device"
    )


def _refuse(x: Any, name: str) -> ArrayView:
    raise TypeError(
        f"{name}: expected a device array (CuPy, torch, nvgemm.Array, nvgemm.ArrayView, __cuda_array_interface__ or "
        f"__dlpack__), got {type(x).__name__}"
    )


_numpy_dtypes: dict[Any, tuple[str, int]] = {}
_doors: dict[type, Callable[[Any, str], ArrayView]] = {ArrayView: lambda x, name: x}


def register(kind: type, door: Callable[[Any, str], ArrayView]) -> None:
    """Let `view` take objects of type `kind`, which `door(x, name)` describes."""
    _doors[kind] = door
