"""A call that is known asks for the current stream again: the one of this call, not of the first."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from products import POISON, exact, same_bits

import nvgemm
from nvgemm import gemm
from nvgemm.remembered import Objects
from nvgemm.runtime import driver

pytestmark = pytest.mark.gpu

SHAPE = (190, 520, 1040)


@pytest.fixture
def known(monkeypatch) -> dict[Any, Any]:
    """What `fp8_gemm_nt` remembers: nothing of other tests."""
    monkeypatch.setattr(gemm, "_known", {})
    monkeypatch.setattr(gemm, "_objects", Objects())
    return gemm._known


@contextmanager
def held(stream: int, others: tuple[int, ...]) -> Iterator[None]:
    """Work that the block puts on `stream` begins after the block, when all on `others` is done."""
    cuda = driver.cuda()
    with driver.context(0):
        word = int(driver.check(cuda.cuMemHostAlloc(4, 0), "cuMemHostAlloc"))
        flag = ctypes.c_uint32.from_address(word)
        flag.value = 0
        geq = cuda.CUstreamWaitValue_flags.CU_STREAM_WAIT_VALUE_GEQ
        driver.check(cuda.cuStreamWaitValue32(stream, word, 1, int(geq)), "cuStreamWaitValue32")
        try:
            yield
            for other in others:
                driver.check(cuda.cuStreamSynchronize(other), "cuStreamSynchronize")
        finally:
            flag.value = 1
            driver.check(cuda.cuStreamSynchronize(stream), "cuStreamSynchronize")
            driver.check(cuda.cuMemFreeHost(word), "cuMemFreeHost")


@pytest.mark.parametrize("allocated", [False, True])
def test_cupy(rng, known, allocated):
    cupy = pytest.importorskip("cupy")
    product = exact(rng, *SHAPE)
    late, sfa, b, sfb = (cupy.asarray(x) for x in product.operands())
    sfa = nvgemm.get_mn_major_tma_aligned_tensor(sfa)
    a, d = cupy.zeros_like(late), cupy.full(SHAPE[:2], POISON, cupy.uint16)
    first, second = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    cupy.cuda.Device(0).synchronize()
    given = () if allocated else (d,)
    with first:
        blocks = [cupy.full(SHAPE[:2], POISON, cupy.uint16) for _ in range(2)]
        del blocks  # what its pool gives next
        results = [nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), *given) for _ in range(2)]
    first.synchronize()
    assert not any(cupy.asnumpy(result.view("uint16")).any() for result in results)
    with second:  # a block for its pool: to ask the driver for one could wait for what is held
        cupy.full(SHAPE[:2], POISON, cupy.uint16)
    second.synchronize()
    with second, held(second.ptr, others=(first.ptr, 0)):
        a.data.copy_from_device_async(late.data, late.nbytes)
        result = nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), *given)
    same_bits(cupy.asnumpy(result.view("uint16")), product.bits())
    assert len(known) == 1


def test_torch(rng, known):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    product = exact(rng, *SHAPE)
    late, sfa, b, sfb = (torch.from_numpy(x).cuda() for x in product.operands())
    sfa = nvgemm.get_mn_major_tma_aligned_tensor(sfa)
    a, d = torch.zeros_like(late), torch.full(SHAPE[:2], float("nan"), device="cuda", dtype=torch.bfloat16)
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(first):
        for _ in range(2):
            nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), d)
    first.synchronize()
    assert not d.any()
    with torch.cuda.stream(second), held(second.cuda_stream, others=(first.cuda_stream, 0)):
        a.copy_(late)
        nvgemm.fp8_gemm_nt((a, sfa), (b, sfb), d)
    same_bits(d.view(torch.int16).cpu().numpy().view(np.uint16), product.bits())
    assert len(known) == 1
