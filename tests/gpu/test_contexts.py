"""A launch is right whatever context is current in its thread: its device's own, another one, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from products import Guarded, exact, same_bits

import nvgemm
from nvgemm.errors import CudaError
from nvgemm.runtime import driver

pytestmark = pytest.mark.gpu

SHAPE = (190, 520, 1040)


def in_a_thread(act: Callable[[], None]) -> None:
    """Run `act` where no context is current, and raise what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            assert int(driver.check(driver.cuda().cuCtxGetCurrent())) == 0
            act()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        raise error


@pytest.fixture
def other_context() -> Iterator[int]:
    """A context of the same device that is not its primary one, current in nobody's thread."""
    cuda = driver.cuda()
    try:
        made = driver.check(cuda.cuCtxCreate(None, 0, 0))
    except TypeError:  # cuda-bindings 12 has no parameters of execution affinity here
        made = driver.check(cuda.cuCtxCreate(0, 0))
    driver.check(cuda.cuCtxPopCurrent())
    yield made
    driver.check(cuda.cuCtxDestroy(made))


def new_stream() -> int:
    return int(driver.check(driver.cuda().cuStreamCreate(1)))  # CU_STREAM_NON_BLOCKING


def synchronize() -> None:
    """Wait for all streams of the primary context: a created one is not ordered with the legacy one."""
    with driver.context(0):
        driver.check(driver.cuda().cuCtxSynchronize())


@pytest.mark.parametrize("kind", ["own", "legacy", "per thread"])
@pytest.mark.parametrize("current", ["none", "other"])
def test_known_calls_and_plans_launch_under_any_context(rng, other_context, current, kind):
    product, cuda = exact(rng, *SHAPE), driver.cuda()
    pairs, d = product.pairs(), Guarded(*SHAPE[:2])
    with driver.context(0):
        stream = {"own": new_stream, "legacy": lambda: 0, "per thread": lambda: 2}[kind]()
    plan = nvgemm.plan(*pairs, d.view, stream=stream)
    nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)
    synchronize()
    same_bits(d.bits(), product.bits())

    def act() -> None:
        if current == "other":
            driver.check(cuda.cuCtxPushCurrent(other_context))
        for launch in (plan, lambda: nvgemm.fp8_gemm_nt(*pairs, d.view, stream=stream)):
            with driver.context(0):
                driver.check(cuda.cuMemsetD8(d.view.ptr, 0, 2))
            synchronize()
            before = int(driver.check(cuda.cuCtxGetCurrent()))
            launch()
            assert int(driver.check(cuda.cuCtxGetCurrent())) == before
            synchronize()
            same_bits(d.bits(), product.bits())

    in_a_thread(act)


def test_another_contexts_stream_is_the_drivers_error(rng, other_context):
    product, cuda, d = exact(rng, *SHAPE), driver.cuda(), Guarded(*SHAPE[:2])
    driver.check(cuda.cuCtxPushCurrent(other_context))
    try:
        stream = new_stream()
        with pytest.raises(CudaError, match="CUDA_ERROR_INVALID_HANDLE"):
            nvgemm.fp8_gemm_nt(*product.pairs(), d.view, stream=stream)
    finally:
        driver.check(cuda.cuCtxPopCurrent())
