"""`nvgemm.Array`, results and scratch over a driver that is a few host buffers and a list of the calls made."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nvgemm.choice.problem import sfa_stride
from nvgemm.errors import CudaError, UnsupportedDeviceError
from nvgemm.runtime import allocation, arrays, dlpack, driver, memory, scratch
from nvgemm.runtime.array_view import make
from nvgemm.runtime.memory import Array

CAPTURING = 0xCA


class FakeCuda:
    """Of the driver, what memory needs; device memory is host memory."""

    CUevent_flags = SimpleNamespace(CU_EVENT_DISABLE_TIMING=2)

    def __init__(self) -> None:
        self.live: dict[int, Any] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.capturing: set[int] = {CAPTURING}

    def cuMemAllocAsync(self, nbytes: int, stream: int) -> tuple[int, int]:  # noqa: N802
        buffer = (ctypes.c_char * nbytes)()
        self.live[ctypes.addressof(buffer)] = buffer
        self.calls.append(("alloc", nbytes, stream))
        return 0, ctypes.addressof(buffer)

    def cuMemFreeAsync(self, ptr: int, stream: int) -> tuple[int]:  # noqa: N802
        del self.live[ptr]
        self.calls.append(("free", stream))
        return (0,)

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> tuple[int]:  # noqa: N802
        ctypes.memmove(to, source, nbytes)
        self.calls.append(("copy", stream))
        return (0,)

    cuMemcpyDtoHAsync = cuMemcpyHtoDAsync  # noqa: N815

    def cuStreamIsCapturing(self, stream: int) -> tuple[int, int]:  # noqa: N802
        return 0, int(stream in self.capturing)

    def __getattr__(self, name: str) -> Any:
        """Everything else succeeds and is remembered."""
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*args: Any) -> tuple[int, ...]:
            self.calls.append((name, *args))
            return (0, 0xE) if name == "cuEventCreate" else (0,)

        return call


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    monkeypatch.setattr(driver, "cuda", lambda: fake)
    monkeypatch.setattr(driver, "context", lambda ordinal: nullcontext())
    for module, name, empty in ((scratch, "_blocks", {}), (scratch, "_recorded", set()), (scratch, "_kept", [])):
        monkeypatch.setattr(module, name, empty)
    yield fake
    for name in ("_blocks", "_kept"):
        getattr(scratch, name).clear()
    gc.collect()
    assert not fake.live


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int64", "bool"])
def test_round_trip(cuda: FakeCuda, dtype: str) -> None:
    host = np.arange(24).reshape(4, 6).astype(dtype)
    array = Array.from_numpy(host, stream=7)
    assert (array.shape, array.strides, array.dtype, array.device, array.stream) == ((4, 6), (6, 1), dtype, 0, 7)
    np.testing.assert_array_equal(array.to_numpy(), host, strict=True)
    assert {call[-1] for call in cuda.calls} == {7}
    del array
    assert cuda.calls[-1] == ("free", 7)


@pytest.mark.parametrize(("dtype", "bits"), [("float8_e4m3fn", np.uint8), ("bfloat16", np.uint16)])
@pytest.mark.usefixtures("cuda")
def test_types_that_numpy_lacks(dtype: str, bits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    host = np.arange(8, dtype=bits)
    tagged = host.view(getattr(ml_dtypes, dtype))
    assert Array.from_numpy(tagged).dtype == dtype
    array = Array.from_numpy(host).view(dtype)
    assert array.to_numpy().dtype == tagged.dtype
    memory.host_dtype.cache_clear()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    np.testing.assert_array_equal(array.to_numpy(), host, strict=True)
    memory.host_dtype.cache_clear()
    with pytest.raises(ValueError, match=rf"dtype: float32 and {dtype} differ in size"):
        array.view("float32")


@pytest.mark.usefixtures("cuda")
def test_host_layouts() -> None:
    host = np.arange(24, dtype=np.float32).reshape(4, 6)
    for each in (host.T, host[::2, ::-1], host[:0], np.float32(3).reshape(())):
        np.testing.assert_array_equal(Array.from_numpy(each).to_numpy(), each, strict=True)
    with pytest.raises(TypeError, match=r"array: data in foreign byte order"):
        Array.from_numpy(host.astype(">f4"))
    with pytest.raises(TypeError, match=r"dtype: complex64 is not known"):
        Array.from_numpy(host.astype(np.complex64))


@pytest.mark.usefixtures("cuda")
def test_strided() -> None:
    array = Array.empty((3, 2), "float32", strides=(1, 4))
    buffer = np.frombuffer((ctypes.c_float * 7).from_address(array.ptr), dtype=np.float32)
    buffer[:] = np.arange(7)
    np.testing.assert_array_equal(array.to_numpy(), [[0, 4], [1, 5], [2, 6]])
    with pytest.raises(ValueError, match=r"Array: sizes and strides are not negative"):
        Array.empty((3,), "float32", strides=(-1,))


def test_a_view_keeps_the_memory(cuda: FakeCuda) -> None:
    array = Array.empty((4,), "uint8")
    other = array.view("float8_e4m3fn")
    del array
    assert cuda.live
    del other
    assert not cuda.live


def test_its_stream_object_lives_as_long(cuda: FakeCuda) -> None:
    class Stream:
        ptr = 9

    stream = Stream()
    array = Array.empty((4,), stream=stream)
    assert (array.stream, array._block.keep) == (9, stream)
    assert ("alloc", 16, 9) in cuda.calls


@pytest.mark.usefixtures("cuda")
def test_as_an_operand_and_through_the_protocols() -> None:
    array = Array.empty((4, 6), "bfloat16", stream=9)
    assert arrays.view(array, "a") == make(array.ptr, (4, 6), (6, 1), "bfloat16", 0, False, "nvgemm", 9)
    assert array.__cuda_array_interface__ == {
        "shape": (4, 6), "typestr": "<u2", "data": (array.ptr, False), "strides": None, "version": 3, "stream": 9,
    }  # fmt: skip
    transposed = Array.empty((4, 6), "float32", strides=(1, 4)).__cuda_array_interface__
    assert (transposed["strides"], transposed["typestr"], transposed["stream"]) == ((4, 16), "<f4", 1)
    assert Array.empty((4,), "float8_e4m3fn").__cuda_array_interface__["typestr"] == "|u1"


def test_dlpack_keeps_the_memory_and_orders_the_consumer(cuda: FakeCuda) -> None:
    array = Array.empty((4, 6), "bfloat16", stream=9)
    ptr = array.ptr
    assert array.__dlpack_device__() == (2, 0)
    capsule = array.__dlpack__(stream=-1)
    assert [call[0] for call in cuda.calls] == ["alloc"]
    del array
    assert cuda.live
    pointer = dlpack._capsule_pointer(id(capsule), b"dltensor")
    assert dlpack._Managed.from_address(pointer).tensor.data == ptr
    del capsule
    assert not cuda.live
    array = Array.empty((4,), "float8_e4m3fn", stream=9)
    array.__dlpack__(stream=1, max_version=(1, 1))
    assert ("cuEventRecord", 0xE, 9) in cuda.calls
    assert ("cuStreamWaitEvent", 0, 0xE, 0) in cuda.calls
    for refused in ({"copy": True}, {"dl_device": (1, 0)}, {"stream": -1}):
        with pytest.raises(BufferError):
            array.__dlpack__(**refused)


@pytest.mark.usefixtures("cuda")
def test_array_in_a_capture() -> None:
    with pytest.raises(RuntimeError, match=r"stream 0xca is capturing a graph, and 16 bytes .*before the capture"):
        Array.empty((4,), stream=CAPTURING)
    array = Array.from_numpy(np.zeros(4, np.float32))
    with pytest.raises(RuntimeError, match=r"copy after the capture"):
        array.to_numpy(stream=CAPTURING)


def test_dropped_in_a_capture_is_freed_after_it(cuda: FakeCuda) -> None:
    array = Array.empty((4,), stream=9)
    cuda.capturing.add(9)
    del array
    assert cuda.live
    cuda.capturing.clear()
    Array.empty((4,))
    assert ("free", 9) in cuda.calls
    assert not allocation._waiting


def test_nothing_is_freed_at_interpreter_exit(cuda: FakeCuda) -> None:
    block = allocation.Block(0, 16, 0)
    block.__del__(lambda: True)
    assert cuda.live


def test_scratch_grows_for_each_stream(cuda: FakeCuda) -> None:
    first = memory.scratch(0, 0, 100)
    assert memory.scratch(0, 0, 1 << 20) == first
    assert memory.scratch(0, 9, 100) != first
    assert memory.scratch(1, 0, 100) != first
    memory.scratch(0, 0, (1 << 20) + 1)
    assert first not in cuda.live
    assert sum(call[0] == "alloc" for call in cuda.calls) == 4


def test_scratch_in_a_capture(cuda: FakeCuda) -> None:
    with pytest.raises(RuntimeError, match=r"100 bytes of scratch would .*call once with the same shapes"):
        memory.scratch(0, CAPTURING, 100)
    recorded = memory.scratch(0, 9, 100)
    cuda.capturing.add(9)
    assert memory.scratch(0, 9, 100) == recorded
    with pytest.raises(RuntimeError, match="capturing"):
        memory.scratch(0, 9, 2 << 20)
    cuda.capturing.clear()
    assert memory.scratch(0, 9, 2 << 20) != recorded
    assert recorded in cuda.live  # a graph still reads there


def test_result_without_a_framework(cuda: FakeCuda) -> None:
    view = make(4096, (4, 4), (4, 1), "uint8", 0, False, "view", None)
    made = memory.empty(view, view, (4, 8), "bfloat16", 9)
    assert isinstance(made, Array)
    assert (made.shape, made.dtype, made.stream) == ((4, 8), "bfloat16", 9)
    scales = memory.empty_scales(view, view, (5, 3), 9)
    assert (scales.shape, scales.strides) == ((5, 3), (1, sfa_stride(5)))
    assert cuda.calls[-1] == ("alloc", (2 * 8 + 5) * 4, 9)


class FakeCupy:
    """Allocates NumPy arrays and notes on which device and stream."""

    class Pushed:
        def __init__(self, owner: Any, field: str, value: Any) -> None:
            self.owner, self.field, self.value = owner, field, value

        def __enter__(self) -> None:
            self.before = getattr(self.owner, self.field)
            setattr(self.owner, self.field, self.value)

        def __exit__(self, *_: object) -> None:
            setattr(self.owner, self.field, self.before)

    def __init__(self) -> None:
        self.device, self.stream, self.made = 0, 0x10, []
        external = SimpleNamespace(
            null=self.Pushed(self, "stream", 0),
            from_external=lambda x: self.Pushed(self, "stream", x.__cuda_stream__()[1]),
        )
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(getDevice=lambda: self.device),
            Device=lambda ordinal: self.Pushed(self, "device", ordinal),
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
            Stream=external,
        )

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        self.made.append((self.device, self.stream))
        return np.empty(shape, dtype)


@pytest.mark.usefixtures("cuda")
def test_result_from_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    view = make(4096, (4, 4), (4, 1), "uint8", 1, False, "cupy", None)
    made = memory.empty(None, view, (4, 8), "bfloat16", 0x10)
    assert made.dtype.name in ("bfloat16", "uint16")
    memory.empty(None, view, (4, 8), "uint8", 0x20)
    memory.empty(None, view, (4, 8), "uint8", 0)
    assert cupy.made == [(1, 0x10), (1, 0x20), (1, 0)]
    assert (cupy.device, cupy.stream) == (0, 0x10)
    scales = memory.empty_scales(None, view, (5, 3), 0x10)
    assert (scales.shape, scales.strides) == ((5, 3), (4, 4 * sfa_stride(5)))
    with pytest.raises(RuntimeError, match=r"make it before the capture and pass it as d="):
        memory.empty(None, view, (4, 8), "uint8", CAPTURING)


@pytest.mark.usefixtures("cuda")
def test_result_from_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []

    def empty(shape: tuple[int, ...], *, dtype: Any, device: str) -> Any:
        log.append((shape, dtype, device))
        return SimpleNamespace(record_stream=lambda stream: log.append(("record", stream.cuda_stream)))

    streams = SimpleNamespace(
        current_stream=lambda device: SimpleNamespace(cuda_stream=0x10),
        default_stream=lambda device: "default",
        ExternalStream=lambda stream, device: stream,
        stream=lambda stream: (log.append(("within", stream)), nullcontext())[1],
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=streams, empty=empty, bfloat16="bf16"))
    view = make(4096, (4, 4), (4, 1), "uint8", 0, False, "torch", None)
    like, made = SimpleNamespace(device="cuda:0"), ((4, 8), "bf16", "cuda:0")
    for stream, expected in (
        (0x10, [made]),
        (0x20, [("within", 0x20), made, ("record", 0x10)]),
        (0, [("within", "default"), made, ("record", 0x10)]),
    ):
        log.clear()
        memory.empty(like, view, (4, 8), "bfloat16", stream)
        assert log == expected


def test_a_machine_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = pytest.importorskip("cuda.bindings.driver")

    def missing(_: int) -> None:
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(bindings, "cuInit", missing)
    with pytest.raises(UnsupportedDeviceError, match=r"no NVIDIA driver on this machine \(libcuda\.so\.1"):
        driver.cuda.__wrapped__()
    monkeypatch.setattr(bindings, "cuInit", lambda _: (100,))
    with pytest.raises(UnsupportedDeviceError, match="the NVIDIA driver finds no GPU"):
        driver.cuda.__wrapped__()


def test_status_becomes_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    bindings = pytest.importorskip("cuda.bindings.driver")
    monkeypatch.setattr(bindings, "cuGetErrorString", lambda status: (0, b"invalid argument"))
    with pytest.raises(CudaError, match=r"cuX: CUDA_ERROR_INVALID_VALUE \(invalid argument\)"):
        driver.check((bindings.CUresult.CUDA_ERROR_INVALID_VALUE,), "cuX")
    assert driver.check((0,)) is None
    assert driver.check((0, 5)) == 5
    assert driver.check((0, 5, 6)) == (5, 6)


def test_other_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ampere = driver.Device(0, "NVIDIA A100", (8, 0), 108, 1410000, 40 << 20, 10**12, 166912)
    monkeypatch.setattr(driver, "device", lambda ordinal: ampere)
    with pytest.raises(UnsupportedDeviceError, match=r"device 0 \(NVIDIA A100\) is sm_80; .* only Hopper runs"):
        driver.require_hopper.__wrapped__(0)


def test_another_streams_capture_blocks_the_legacy_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "cuda", lambda: SimpleNamespace(cuStreamIsCapturing=lambda stream: (906, 0)))
    assert driver.is_capturing(0)
