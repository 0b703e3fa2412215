"""Operands, streams and memory on a real device, between the array libraries that are installed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nvgemm.runtime import allocation, arrays, driver, memory, streams
from nvgemm.runtime.memory import Array

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stream() -> Iterator[int]:
    """A stream that does not wait for the legacy one."""
    with driver.context(0):
        cuda = driver.cuda()
        made = driver.check(cuda.cuStreamCreate(cuda.CUstream_flags.CU_STREAM_NON_BLOCKING))
        yield int(made)
        driver.check(cuda.cuStreamSynchronize(made))
        driver.check(cuda.cuStreamDestroy(made))


@pytest.fixture
def capture(stream: int) -> Iterator[int]:
    """The stream, capturing; the capture must still be good when the test is done."""
    cuda = driver.cuda()
    mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    driver.check(cuda.cuStreamBeginCapture(stream, mode))
    yield stream
    graph = driver.check(cuda.cuStreamEndCapture(stream), "cuStreamEndCapture")
    driver.check(cuda.cuGraphDestroy(graph))


@pytest.fixture
def cupy() -> Any:
    return pytest.importorskip("cupy")


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def test_device() -> None:
    found = driver.require_hopper(0)
    assert found.capability == (9, 0)
    assert found.num_sms >= 72
    assert 2e12 < found.memory_bandwidth < 6e12
    assert found.max_shared_bytes == 232448
    assert 10**6 < found.clock_khz < 3 * 10**6
    assert found.l2_bytes > 16 << 20
    assert driver.driver_version() >= (12, 0)
    assert driver.device_count() >= 1


def test_context_is_pushed_and_popped() -> None:
    before: list[int] = []

    def other_thread() -> None:
        current = driver.cuda().cuCtxGetCurrent
        before.append(int(driver.check(current())))
        Array.from_numpy(np.ones(4, np.float32)).to_numpy()
        before.append(int(driver.check(current())))

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert before == [0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8", "int32"])
def test_round_trip(dtype: str, stream: int, rng: Any) -> None:
    host = (100 * rng.random((37, 53))).astype(dtype)
    for each in (host, host.T, host[::2, 3:], host[:0]):
        np.testing.assert_array_equal(Array.from_numpy(each, stream=stream).to_numpy(), each, strict=True)


def test_types_of_ml_dtypes(rng: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in (ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16):
        host = rng.standard_normal((16, 16)).astype(dtype)
        array = Array.from_numpy(host)
        assert array.dtype == host.dtype.name
        np.testing.assert_array_equal(array.to_numpy(), host, strict=True)


def test_memory_is_reused_in_stream_order(stream: int) -> None:
    for _ in range(100):
        Array.empty((1 << 28,), "uint8", stream=stream)  # 25 GiB in all, never more than a few at once


def test_cupy_reads_an_array(cupy: Any, rng: Any) -> None:
    host = rng.random((8, 24)).astype(np.float32)
    array = Array.from_numpy(host)
    np.testing.assert_array_equal(cupy.asnumpy(cupy.asarray(array)), host)
    np.testing.assert_array_equal(cupy.asnumpy(cupy.from_dlpack(array)), host)
    cupy.asarray(array)[:] = 3
    cupy.cuda.Device(0).synchronize()
    assert (array.to_numpy() == 3).all()
    fp8 = Array.from_numpy(np.arange(16, dtype=np.uint8)).view("float8_e4m3fn")
    np.testing.assert_array_equal(cupy.asnumpy(cupy.asarray(fp8)), np.arange(16))


def test_cupy_keeps_an_array_alive(cupy: Any) -> None:
    taken = cupy.from_dlpack(Array.from_numpy(np.full(1 << 20, 7, np.float32)))
    other = Array.from_numpy(np.zeros(1 << 20, np.float32))
    assert float(taken.sum()) == 7 * 2**20
    del other


def test_view_of_cupy(cupy: Any) -> None:
    x = cupy.zeros((6, 64), np.uint8)
    direct = arrays.view(x, "a")
    assert direct == arrays.make(x.data.ptr, (6, 64), (64, 1), "uint8", 0, False, "cupy", None)
    part = x[1:, :32]
    interface = SimpleNamespace(__cuda_array_interface__=part.__cuda_array_interface__)
    capsule = SimpleNamespace(__dlpack__=part.__dlpack__, __dlpack_device__=part.__dlpack_device__)
    for door in (interface, capsule):
        view = arrays.view(door, "a")
        assert view[:6] == arrays.view(part, "a")[:6]
        assert view.owner == "other"


def test_host_pointer_in_an_interface() -> None:
    host = np.zeros((4, 4), np.float32)
    claimed = {"shape": (4, 4), "typestr": "<f4", "data": (host.ctypes.data, False), "version": 3}
    with pytest.raises(ValueError, match="is no device pointer"):
        arrays.view(SimpleNamespace(__cuda_array_interface__=claimed), "a")


def test_current_stream_of_cupy(cupy: Any) -> None:
    views = [arrays.view(cupy.zeros((2, 16), np.uint8), "a")]
    assert streams.resolve(None, views, ()) == 0
    with cupy.cuda.Stream(non_blocking=True) as current:
        assert streams.resolve(None, views, ()) == streams.handle(current) == current.ptr
        assert streams.resolve(0, views, ()) == 0
        with pytest.raises(ValueError, match=r"pass stream="):
            streams.resolve(None, [*views, arrays.view(Array.empty((2,)), "b")], ())


def test_results_of_cupy(cupy: Any, stream: int) -> None:
    x = cupy.zeros((2, 16), np.uint8)
    view = arrays.view(x, "a")
    for each in (stream, 0):
        made = memory.empty(x, view, (8, 16), "bfloat16", each)
        assert (made.shape, arrays.view(made, "d").dtype) == ((8, 16), memory.host_dtype("bfloat16").__name__)
        assert cupy.cuda.get_current_stream().ptr == 0
        assert arrays.view(memory.empty(x, view, (8, 16), "float8_e4m3fn", each), "a").dtype == "float8_e4m3fn"
    scales = arrays.view(memory.empty_scales(x, view, (5, 3), stream), "sfa")
    assert (scales.shape, scales.strides) == ((5, 3), (1, 8))


def test_torch(torch: Any, stream: int) -> None:
    x = torch.zeros((6, 64), dtype=torch.uint8, device="cuda").view(torch.float8_e4m3fn)
    view = arrays.view(x[:, :32], "a")
    assert view == arrays.make(x.data_ptr(), (6, 32), (64, 1), "float8_e4m3fn", 0, False, "torch", None)
    assert streams.resolve(None, [view], ()) == torch.cuda.current_stream().cuda_stream
    with torch.cuda.stream(torch.cuda.Stream()) as _:
        assert streams.resolve(None, [view], ()) == torch.cuda.current_stream().cuda_stream != 0
    for each in (torch.cuda.current_stream().cuda_stream, stream, 0):
        made = memory.empty(x, view, (8, 16), "bfloat16", each)
        assert (tuple(made.shape), made.dtype, made.device) == ((8, 16), torch.bfloat16, x.device)
    with pytest.raises(TypeError, match="host tensor"):
        arrays.view(torch.zeros(2, 2), "a")
    with pytest.raises(ValueError, match="requires grad"):
        arrays.view(torch.zeros((2, 2), device="cuda", requires_grad=True), "d")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_torch_takes_an_array(torch: Any, dtype: str) -> None:
    array = Array.from_numpy(np.arange(8, dtype=np.float32 if dtype == "float32" else np.uint16)).view(dtype)
    taken = torch.from_dlpack(array)
    assert (taken.dtype, taken.data_ptr()) == (getattr(torch, dtype), array.ptr)
    del array
    if dtype == "float32":
        assert taken.cpu().tolist() == list(range(8))


def test_refused_in_a_capture_that_stays_good(capture: int) -> None:
    assert driver.is_capturing(capture)
    with pytest.raises(RuntimeError, match="capturing"):
        Array.empty((4,), stream=capture)
    with pytest.raises(RuntimeError, match="capturing"):
        memory.scratch(0, capture, 1)
    if "cupy" in sys.modules:
        view = arrays.make(0, (0, 0), (1, 1), "uint8", 0, False, "cupy", None)
        with pytest.raises(RuntimeError, match="capturing"):
            memory.empty(None, view, (4, 4), "float32", capture)


def test_dropped_in_a_capture(stream: int) -> None:
    array = Array.empty((1 << 20,), stream=stream)
    cuda = driver.cuda()
    driver.check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
    del array
    waiting = len(allocation._waiting)
    graph = driver.check(cuda.cuStreamEndCapture(stream), "cuStreamEndCapture")
    driver.check(cuda.cuGraphDestroy(graph))
    Array.empty((4,))
    assert (waiting, len(allocation._waiting)) == (1, 0)


def test_scratch(stream: int) -> None:
    first = memory.scratch(0, 0, 1000)
    other = memory.scratch(0, stream, 1000)
    assert first != other
    assert first % 256 == other % 256 == 0
    assert memory.scratch(0, 0, 1000) == first
    assert driver.pointer_device(memory.scratch(0, 0, 3 << 20)) == 0


def test_alive_at_interpreter_exit() -> None:
    code = (
        "import sys; sys.modules.update(cupy=None, torch=None)\n"
        "import numpy as np, nvgemm\n"
        "kept = nvgemm.Array.from_numpy(np.arange(5.0))\n"
        "capsule = kept.__dlpack__(stream=-1)\n"
        "loop = [kept]; loop.append(loop)\n"
        "print(kept.to_numpy().sum())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "10.0", "")
