"""Threads, streams and graphs: every launch reads its own operands, and a capture records only what can be replayed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from products import Guarded, build_all, configs, exact, same_bits, write

import nvgemm
from nvgemm import gemm
from nvgemm.remembered import Objects
from nvgemm.runtime import driver, gemm_kernel, scratch

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::nvgemm.errors.PerformanceWarning")]

THREADS, LAUNCHES = 8, 30
SHAPES = [(64 + 37 * i, 264 + 136 * i, 400 + 144 * i) for i in range(THREADS)]
SHAPE = (190, 520, 1040)


def new_stream() -> int:
    with driver.context(0):
        return int(driver.check(driver.cuda().cuStreamCreate(1)))  # CU_STREAM_NON_BLOCKING


@pytest.fixture
def stream() -> Iterator[int]:
    made = new_stream()
    yield made
    with driver.context(0):
        driver.check(driver.cuda().cuStreamDestroy(made))


def wait(stream: int) -> None:
    with driver.context(0):
        driver.check(driver.cuda().cuStreamSynchronize(stream))


@contextmanager
def captured(stream: int) -> Iterator[list[object]]:
    """Capture what the block puts on `stream`; afterwards the list holds the executable graph."""
    cuda, graphs = driver.cuda(), []
    with driver.context(0):
        driver.check(cuda.cuStreamBeginCapture(stream, cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            yield graphs
        finally:
            graph = driver.check(cuda.cuStreamEndCapture(stream), "cuStreamEndCapture")
        graphs.append(driver.check(cuda.cuGraphInstantiate(graph, 0), "cuGraphInstantiate"))


def replay(graph: object, stream: int) -> None:
    with driver.context(0):
        driver.check(driver.cuda().cuGraphLaunch(graph, stream), "cuGraphLaunch")
        driver.check(driver.cuda().cuStreamSynchronize(stream))


@pytest.mark.parametrize("sfa", ["mn", "k"])
@pytest.mark.parametrize("one_shape", [False, True])
def test_threads_and_streams(one_shape, sfa, rng):
    """With one shape all share a kernel; with K-major scales each stream has its own scratch."""
    shapes = [SHAPE] * THREADS if one_shape else SHAPES
    build_all(configs(shapes))
    products = [[exact(rng, *shape) for _ in range(2)] for shape in shapes]
    start = threading.Barrier(THREADS)

    def work(index: int) -> None:
        jobs = [(new_stream(), p, p.pairs(sfa), Guarded(*p.shape[:2])) for p in products[index]]
        expected = [p.bits() for p in products[index]]
        start.wait(timeout=60)
        for _ in range(LAUNCHES):
            for stream, _, pairs, d in jobs:
                nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)
        for (stream, _, _, d), bits in zip(jobs, expected, strict=True):
            wait(stream)
            same_bits(d.bits(), bits)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def test_threads_load_one_kernel_at_once(rng, monkeypatch):
    monkeypatch.setattr(gemm_kernel, "_kernels", {})
    monkeypatch.setattr(gemm_kernel, "_modules", {})
    monkeypatch.setattr(gemm, "_known", {})
    monkeypatch.setattr(gemm, "_objects", Objects())
    product = exact(rng, *SHAPE)
    pairs, expected = product.pairs(), product.bits()
    start = threading.Barrier(THREADS)

    def work(_: int) -> np.ndarray:
        d = Guarded(*SHAPE[:2])
        start.wait(timeout=60)
        nvgemm.fp8_gemm_nt(*pairs, d.view)
        return d.bits()

    with ThreadPoolExecutor(THREADS) as pool:
        for bits in pool.map(work, range(THREADS)):
            same_bits(bits, expected)


@pytest.mark.parametrize("sfa", ["mn", "k"])
@pytest.mark.parametrize("prepared", [False, True])
def test_graph(prepared, sfa, stream, rng):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    (a, scales), b = product.pairs(sfa)
    nvgemm.fp8_gemm_nt((a, scales), b, Guarded(*SHAPE[:2]).view, stream=stream)
    plan = nvgemm.plan((a, scales), b, d.view, stream=stream)
    with captured(stream) as graphs:
        if prepared:
            plan()
        else:
            nvgemm.fp8_gemm_nt((a, scales), b, d.view, stream=stream)
    for _ in range(3):
        product.a[:] = exact(rng, *SHAPE).a
        write(a, product.a)
        replay(graphs[0], stream)
        same_bits(d.bits(), product.bits())


def test_capture_by_cupy(rng):
    cupy = pytest.importorskip("cupy")
    product = exact(rng, *SHAPE)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        a, sfa, b, sfb = (cupy.asarray(x) for x in product.operands())
        sfa = nvgemm.get_mn_major_tma_aligned_tensor(sfa)
        for _ in range(2):
            d = nvgemm.fp8_gemm_nt((a, sfa), (b, sfb))
        stream.synchronize()
        stream.begin_capture()
        with pytest.raises(RuntimeError, match=r"capturing a graph.*pass it as d="):
            nvgemm.fp8_gemm_nt((a, sfa), (b, sfb))
        nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), d)
        graph = stream.end_capture()
        d.view(cupy.uint16).fill(0x7FC1)
        graph.launch(stream)
        stream.synchronize()
        same_bits(cupy.asnumpy(d.view(cupy.uint16)), product.bits())


def test_capture_refuses_what_is_not_loaded(stream, rng, monkeypatch):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    pairs, k_major = product.pairs(), product.pairs("k")
    with monkeypatch.context() as patch:
        patch.setattr(gemm_kernel, "_kernels", {})
        patch.setattr(gemm_kernel, "_modules", {})
        patch.setattr(gemm, "_known", {})
        patch.setattr(gemm, "_objects", Objects())
        with captured(stream), pytest.raises(RuntimeError, match=r"capturing a graph.*call once before the capture"):
            nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)
    nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)
    with captured(stream), pytest.raises(RuntimeError, match=r"capturing a graph.*make the array before"):
        nvgemm.fp8_gemm_nt(*pairs, stream=stream)
    nvgemm.fp8_gemm_nt(*k_major)  # loads the kernel that transposes
    monkeypatch.setattr(scratch, "_blocks", {})
    with captured(stream), pytest.raises(RuntimeError, match=r"capturing a graph.*scratch"):
        nvgemm.fp8_gemm_nt(*k_major, d.view, stream=stream)
    wait(stream)
    same_bits(d.bits(), product.bits())


def test_two_libraries_on_different_streams(rng):
    cupy = pytest.importorskip("cupy")
    product = exact(rng, *SHAPE)
    _, b = product.pairs()
    b = b[0], product.put(product.sfb)
    with cupy.cuda.Stream(non_blocking=True) as current:
        a = cupy.asarray(product.a), cupy.asarray(product.sfa)
        a = a[0], nvgemm.get_mn_major_tma_aligned_tensor(a[1])
        with pytest.raises(ValueError, match=r"cupy\.ndarray on 0x.*nvgemm\.Array on 0x0.*pass stream="):
            nvgemm.fp8_gemm_nt(a, b)
        d = nvgemm.fp8_gemm_nt(a, b, stream=current)
        same_bits(cupy.asnumpy(d.view(cupy.uint16)), product.bits())


def test_torch_and_cupy_on_different_streams(rng):
    cupy, torch = pytest.importorskip("cupy"), pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    product = exact(rng, *SHAPE)
    b = tuple(torch.from_numpy(x).cuda() for x in (product.b, product.sfb))
    with cupy.cuda.Stream(non_blocking=True):
        a = cupy.asarray(product.a), cupy.asarray(product.sfa)
        with pytest.raises(ValueError, match="different streams"):
            nvgemm.fp8_gemm_nt(a, b)
