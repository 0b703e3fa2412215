"""DLPack capsules in ctypes, read and written: https://dmlc.github.io/dlpack/latest/c_api.html"""

from __future__ import annotations

import ctypes
from typing import Any

from nvgemm.runtime.dtypes import dlpack_code, from_dlpack_code

CUDA, CUDA_MANAGED = 2, 13  # DLDeviceType
DEVICE_KINDS = (CUDA, CUDA_MANAGED)
_VERSION = (1, 1)  # the first with FP8 types
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY

_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_CAPSULE_DESTRUCTOR = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)

# Prototypes of our own: argument types set on ctypes.pythonapi itself would be everybody's. Capsules go in by
# address, since the destructor sees one whose reference count is already zero.
_capsule_is = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", ctypes.pythonapi))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, _CAPSULE_DESTRUCTOR)(
    ("PyCapsule_New", ctypes.pythonapi)
)


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER))


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", _DELETER),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_PLAIN, _WITH_VERSION = b"dltensor", b"dltensor_versioned"  # capsules keep a pointer to their name, not a copy
_KINDS: dict[bytes, type[_Managed] | type[_Versioned]] = {_PLAIN: _Managed, _WITH_VERSION: _Versioned}
_exported: dict[int, tuple[Any, ...]] = {}  # address of the managed tensor → what must live as long as it


def read(x: Any, name: str) -> tuple[int, tuple[int, ...], tuple[int, ...] | None, str, bool]:
    """Pointer, shape, strides (in elements; None: C-contiguous), dtype and read-only flag of an exporter.

    The capsule is not consumed: `x` keeps the memory for the call, and stream -1 asks for no synchronisation.
    """
    try:
        capsule = x.__dlpack__(stream=-1, max_version=_VERSION, copy=False)
    except TypeError:  # exporters before DLPack 1.0 know neither
        capsule = x.__dlpack__(stream=-1)
    for label, kind in _KINDS.items():
        if _capsule_is(id(capsule), label):
            managed = kind.from_address(_capsule_pointer(id(capsule), label))
            break
    else:
        raise TypeError(f"{name}: __dlpack__ did not return a DLPack capsule")
    tensor = managed.tensor
    if isinstance(managed, _Versioned) and managed.major != 1:
        raise TypeError(f"{name}: DLPack version {managed.major}.{managed.minor} is not known")
    dtype = from_dlpack_code(tensor.code, tensor.bits, tensor.lanes, name)
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    readonly = isinstance(managed, _Versioned) and bool(managed.flags & _READ_ONLY)
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, readonly


def export(owner: Any, view: Any, max_version: tuple[int, int] | None) -> Any:
    """Capsule over the memory of `view`, keeping `owner` alive until the consumer lets go.

    Raises
    ------
    BufferError
        FP8 for a consumer that only knows DLPack before 1.0.
    """
    code, bits = dlpack_code(view.dtype)
    versioned = max_version is not None and max_version[0] >= 1
    if not versioned and view.dtype.startswith("float8"):
        raise BufferError(f"{view.dtype} needs DLPack 1.1; export array.view('uint8') instead")
    dims = ctypes.c_int64 * len(view.shape)
    shape, strides = dims(*view.shape), dims(*view.strides)
    managed = _Versioned(*_VERSION) if versioned else _Managed()
    managed.deleter = _release
    managed.tensor = _Tensor(
        view.ptr, CUDA, view.device, len(view.shape), code, bits, 1,
        ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)), ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64)),
    )  # fmt: skip
    address = ctypes.addressof(managed)
    _exported[address] = (managed, shape, strides, owner)
    return _new_capsule(address, _WITH_VERSION if versioned else _PLAIN, _drop)


def _forget(address: int) -> None:
    _exported.pop(address, None)


def _forget_unconsumed(capsule: int) -> None:
    """Of a capsule that nobody took over; a consumer renames it."""
    for label in _KINDS:
        if _capsule_is(capsule, label):
            _forget(_capsule_pointer(capsule, label))


_release = _DELETER(_forget)
_drop = _CAPSULE_DESTRUCTOR(_forget_unconsumed)
