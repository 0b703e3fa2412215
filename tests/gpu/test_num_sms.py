"""A product on some of the SMs: right for every number, and no more CTAs than that."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from products import Guarded, exact, same_bits

import nvgemm
from nvgemm.runtime import driver, sm_limit

pytestmark = pytest.mark.gpu

SHAPE = (2100, 2184, 1040)  # more tiles than SMs in every configuration that is chosen for it


@pytest.fixture
def stream() -> Iterator[int]:
    with driver.context(0):
        made = int(driver.check(driver.cuda().cuStreamCreate(1)))  # CU_STREAM_NON_BLOCKING
        yield made
        driver.check(driver.cuda().cuStreamDestroy(made))


def num_ctas(stream: int, launch: Callable[[], object]) -> int:
    """CTAs of the one kernel that `launch` puts on `stream`, as the driver got them: a capture records the launch."""
    cuda = driver.cuda()
    with driver.context(0):
        mode = cuda.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        driver.check(cuda.cuStreamBeginCapture(stream, mode), "cuStreamBeginCapture")
        try:
            launch()
        finally:
            graph = driver.check(cuda.cuStreamEndCapture(stream), "cuStreamEndCapture")
        assert driver.check(cuda.cuGraphGetNodes(graph))[1] == 1
        ((node,), _) = driver.check(cuda.cuGraphGetNodes(graph, 1))
        recorded = driver.check(cuda.cuGraphKernelNodeGetParams(node))
        ctas = recorded.gridDimX * recorded.gridDimY * recorded.gridDimZ
        driver.check(cuda.cuGraphDestroy(graph))
    return int(ctas)


@pytest.mark.parametrize("num_sms", [1, 2, 3, 7, 78, 131])
def test_every_number_of_sms_gives_the_right_result(rng, stream, num_sms):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    pairs = product.pairs()
    nvgemm.fp8_gemm_nt(*pairs, d.view, num_sms=num_sms)
    same_bits(d.bits(), product.bits())
    config = nvgemm.plan(*pairs, d.view, num_sms=num_sms).config
    assert config.num_tiles(SHAPE[0]) > num_sms  # else the tiles would limit the grid
    ctas = num_ctas(stream, lambda: nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream, num_sms=num_sms))
    assert ctas == num_sms // config.cluster_size * config.cluster_size


def test_the_number_set_for_all_calls_is_that_of_the_grid(rng, stream, monkeypatch):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    pairs = product.pairs()
    monkeypatch.setattr(sm_limit, "limit", None)
    assert nvgemm.get_num_sms() == driver.device(0).num_sms
    nvgemm.set_num_sms(5)
    plan = nvgemm.plan(*pairs, d.view, stream=stream)
    few = 5 // plan.config.cluster_size * plan.config.cluster_size
    assert num_ctas(stream, lambda: nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)) == few
    nvgemm.set_num_sms(None)
    assert f" on {few} CTAs" in plan.explain()
    assert num_ctas(stream, plan) == few
    plan()
    same_bits(d.bits(stream), product.bits())


def test_more_sms_than_there_are(rng):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    before = d.bits().copy()
    with pytest.raises(ValueError, match=r"num_sms: 1000 is more than the \d+ SMs of device 0"):
        nvgemm.fp8_gemm_nt(*product.pairs(), d.view, num_sms=1000)
    same_bits(d.bits(), before)
