"""The doors for operands, with objects that have the attributes of the real ones."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nvgemm.errors import CudaError
from nvgemm.runtime import arrays, dlpack, driver
from nvgemm.runtime.array_view import ArrayView, make

PTR = 0x7F0000001000


def test_array_view_is_plain_data() -> None:
    view = ArrayView(PTR, (4, 6), dtype="bfloat16", device=1, readonly=True)
    assert (view.strides, view.owner, view.stream, view.device, view.readonly) == ((6, 1), "view", None, 1, True)
    assert arrays.view(view, "a") is view
    assert view == ArrayView(PTR, [4, 6], (6, 1), "bfloat16", 1, True)
    assert ArrayView(PTR, (2,)).dtype == "float8_e4m3fn"
    with pytest.raises(AttributeError):
        view.ptr = 0  # type: ignore[misc]


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_dtype_spellings(dtype: Any) -> None:
    assert ArrayView(PTR, (2,), dtype=dtype).dtype == "float32"


def test_dtype_tags_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert ArrayView(PTR, (2,), dtype=ml_dtypes.float8_e4m3fn).dtype == "float8_e4m3fn"
    assert ArrayView(PTR, (2,), dtype=np.dtype(ml_dtypes.bfloat16)).dtype == "bfloat16"


@pytest.mark.parametrize("fields", [(-1, (2,)), (PTR, (-2,)), (PTR, (2, 2), (1,))])
def test_array_view_refuses_nonsense(fields: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"^ArrayView: "):
        ArrayView(*fields)


@pytest.fixture
def cupy_array() -> Any:
    cupy = pytest.importorskip("cupy")
    memory = cupy.cuda.UnownedMemory(PTR, 1 << 20, None, 0)

    def build(shape: tuple[int, ...], dtype: Any, strides: tuple[int, ...] | None = None, offset: int = 0) -> Any:
        return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, offset), strides)

    return build


def test_cupy(cupy_array: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    matrix = cupy_array((6, 32), np.uint8, offset=64)
    expected = make(PTR + 64, (6, 32), (32, 1), "uint8", 0, False, "cupy", None)
    assert arrays.view(matrix, "a") == expected
    assert arrays.view(matrix.view(ml_dtypes.float8_e4m3fn), "a").dtype == "float8_e4m3fn"
    assert arrays.view(matrix.view(ml_dtypes.float8_e5m2), "a").dtype == "float8_e5m2"
    scales = arrays.view(cupy_array((5, 3), np.float32).T[1:], "a scales")
    assert (scales.shape, scales.strides, scales.dtype, scales.ptr) == ((2, 5), (1, 3), "float32", PTR + 4)
    assert arrays.view(cupy_array((4, 8), ml_dtypes.bfloat16)[:, :4], "d").strides == (8, 1)
    with pytest.raises(ValueError, match=r"a: strides \(6, 4\) are not multiples of the element size, 4 bytes"):
        arrays.view(cupy_array((4, 1), np.float32, strides=(6, 4)), "a")


class Tensor:
    """What is read of a torch tensor."""

    def __init__(self, dtype: str = "torch.float8_e4m3fn", *, cuda: bool = True, grad: bool = False) -> None:
        self.dtype = type("dtype", (), {"__str__": lambda _: dtype})()
        self.is_cuda, self.requires_grad, self.device = cuda, grad, "cuda:1" if cuda else "cpu"
        self.shape = (6, 32)

    def data_ptr(self) -> int:
        return PTR

    def stride(self) -> tuple[int, int]:
        return (48, 1)

    def get_device(self) -> int:
        return 1


Tensor.__module__ = "torch"


class Parameter(Tensor):
    """A subclass from elsewhere is a tensor too."""


@pytest.mark.parametrize("kind", [Tensor, Parameter])
def test_torch_by_its_attributes(kind: type[Tensor]) -> None:
    expected = make(PTR, (6, 32), (48, 1), "float8_e4m3fn", 1, False, "torch", None)
    assert arrays.view(kind(), "a") == arrays.view(kind(grad=True), "a") == expected
    assert arrays.view(kind("torch.bfloat16"), "d").dtype == "bfloat16"
    with pytest.raises(ValueError, match=r"d: the tensor requires grad; pass d\.detach\(\)"):
        arrays.view(kind("torch.bfloat16", grad=True), "d")
    with pytest.raises(TypeError, match=r"a: host tensor \(on cpu\); pass a\.cuda\(\)"):
        arrays.view(kind(cuda=False), "a")


def interface(**fields: Any) -> Any:
    described = {"shape": (4, 6), "typestr": "<f4", "data": (PTR, False), "version": 3, **fields}
    return SimpleNamespace(__cuda_array_interface__=described)


@pytest.fixture
def on_device_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "pointer_device", lambda ptr: 2)


@pytest.mark.usefixtures("on_device_2")
@pytest.mark.parametrize(
    ("typestr", "dtype"),
    [
        ("|u1", "uint8"),
        ("<V1", "float8_e4m3fn"),
        ("|V1", "float8_e4m3fn"),
        ("<V2", "bfloat16"),
        ("<f1", "float8_e5m2"),
        ("|i1", "int8"),
        ("<f2", "float16"),
        ("<f4", "float32"),
        ("<i8", "int64"),
        ("|b1", "bool"),
    ],
)
def test_interface_types(typestr: str, dtype: str) -> None:
    assert arrays.view(interface(typestr=typestr), "a").dtype == dtype


@pytest.mark.usefixtures("on_device_2")
def test_interface() -> None:
    assert arrays.view(interface(), "a") == make(PTR, (4, 6), (6, 1), "float32", 2, False, "other", None)
    assert arrays.view(interface(strides=(4, 16), stream=1, data=(PTR, True)), "a") == make(
        PTR, (4, 6), (1, 4), "float32", 2, True, "other", 0
    )
    assert arrays.view(interface(stream=0x5000, strides=None), "a").stream == 0x5000
    assert arrays.view(interface(data=(0, False), shape=(0, 6)), "a").device == 0


@pytest.mark.usefixtures("on_device_2")
@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"mask": object()}, TypeError, "a: masked"),
        ({"typestr": ">f4"}, TypeError, "a: big-endian"),
        ({"typestr": "<c8"}, TypeError, "a: type <c8 is not known"),
        ({"typestr": "|O"}, TypeError, r"a: type \|O is not known"),
        ({"stream": 0}, ValueError, "a: __cuda_array_interface__ gives stream 0"),
        ({"strides": (24, 3)}, ValueError, "a: strides .* are not multiples"),
    ],
)
def test_interface_refused(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        arrays.view(interface(**fields), "a")


def test_interface_over_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(ptr: int) -> int:
        raise CudaError("CUDA_ERROR_INVALID_VALUE")

    monkeypatch.setattr(driver, "pointer_device", unknown)
    with pytest.raises(ValueError, match=r"a: 0x7f0000001000, of its __cuda_array_interface__, is no device pointer"):
        arrays.view(interface(), "a")


class Exporter:
    """DLPack over a view of our own; `old` knows nothing of versions."""

    def __init__(self, view: ArrayView, *, old: bool = False, device: tuple[int, int] = (2, 0)) -> None:
        self.view, self.old, self.device = view, old, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device

    def __dlpack__(self, *, stream: int | None = None, **modern: Any) -> Any:
        assert stream == -1
        if modern and self.old:
            raise TypeError("unexpected keyword")
        return dlpack.export(self, self.view, modern.get("max_version"))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "bfloat16", "float32", "int64", "bool"])
def test_dlpack_round_trip(dtype: str, old: bool) -> None:
    view = ArrayView(PTR, (3, 5), (7, 1), dtype)
    assert arrays.view(Exporter(view, old=old), "a") == make(PTR, (3, 5), (7, 1), dtype, 0, False, "other", None)
    assert not dlpack._exported  # a capsule that nobody consumed lets go of everything


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz"])
def test_dlpack_fp8_needs_its_version(dtype: str) -> None:
    view = ArrayView(PTR, (3, 16), None, dtype)
    assert arrays.view(Exporter(view), "a").dtype == dtype
    with pytest.raises(BufferError, match=rf"{dtype} needs DLPack 1.1"):
        arrays.view(Exporter(view, old=True), "a")


def test_dlpack_flags_offsets_and_missing_strides() -> None:
    capsule = dlpack.export(None, ArrayView(PTR, (3, 16), None, "uint8"), (1, 0))
    managed = dlpack._Versioned.from_address(dlpack._capsule_pointer(id(capsule), b"dltensor_versioned"))
    managed.flags, managed.tensor.byte_offset, managed.tensor.strides = 1, 32, None
    given = SimpleNamespace(__dlpack__=lambda **_: capsule, __dlpack_device__=lambda: (2, 3))
    assert arrays.view(given, "a") == make(PTR + 32, (3, 16), (16, 1), "uint8", 3, True, "other", None)
    managed.tensor.lanes = 4
    with pytest.raises(TypeError, match=r"a: DLPack type code 1 with 8 bits and 4 lanes is not known"):
        arrays.view(given, "a")
    managed.major = 2
    with pytest.raises(TypeError, match=r"a: DLPack version 2\.1 is not known"):
        arrays.view(given, "a")


def test_dlpack_consumed_capsule_is_freed_by_its_deleter() -> None:
    view = ArrayView(PTR, (3, 16), None, "uint8")
    capsule = dlpack.export(view, view, None)
    address = dlpack._capsule_pointer(id(capsule), b"dltensor")
    rename = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_SetName", ctypes.pythonapi))
    used = b"used_dltensor"
    rename(id(capsule), used)
    del capsule
    assert address in dlpack._exported
    dlpack._Managed.from_address(address).deleter(address)
    assert not dlpack._exported


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_dlpack_as_numpy_reads_it(version: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dlpack, "CUDA", 1)  # say that it is host memory, which it is
    host = np.arange(12, dtype=np.float32)
    view = ArrayView(host.ctypes.data, (3, 2), (4, 2), "float32")
    exporter = SimpleNamespace(
        __dlpack_device__=lambda: (1, 0), __dlpack__=lambda **_: dlpack.export(host, view, version)
    )
    taken = np.from_dlpack(exporter)
    np.testing.assert_array_equal(taken, [[0, 2], [4, 6], [8, 10]])
    assert len(dlpack._exported) == 1
    del taken
    assert not dlpack._exported


def test_dlpack_not_a_capsule() -> None:
    given = SimpleNamespace(__dlpack__=lambda **_: object(), __dlpack_device__=lambda: (2, 0))
    with pytest.raises(TypeError, match=r"a: __dlpack__ did not return a DLPack capsule"):
        arrays.view(given, "a")


@pytest.mark.parametrize("x", [np.zeros((2, 2)), np.float32(1), np.zeros(2).view(np.recarray)])
def test_host_arrays(x: Any) -> None:
    with pytest.raises(TypeError, match=r"a: host array \(numpy\.\w+\); nvgemm\.Array\.from_numpy\(a\) copies"):
        arrays.view(x, "a")


def test_host_memory_behind_dlpack() -> None:
    with pytest.raises(TypeError, match=r"a: host array \(.*Exporter\)"):
        arrays.view(Exporter(ArrayView(PTR, (2, 2)), device=(1, 0)), "a")


@pytest.mark.parametrize("x", [None, [[1.0]], "a", 7])
def test_no_array(x: Any) -> None:
    with pytest.raises(TypeError, match=r"a: expected a device array .*, got (NoneType|list|str|int)$"):
        arrays.view(x, "a")


def test_torch_is_not_imported() -> None:
    had = "torch" in sys.modules
    arrays.view(Tensor(), "a")
    assert ("torch" in sys.modules) == had
