"""Which context a launch needs: the stream's own; the current one is asked for where every context has the stream."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from cuda.bindings import driver as bindings

from nvgemm.errors import CudaError
from nvgemm.runtime import kernel as module
from nvgemm.runtime.kernel import Kernel

OWN, OTHER = 7, 8
CREATED = 0x55


class Driver:
    """Notes what is asked and launched, and under which context."""

    def __init__(self, current: int | None) -> None:
        self.current, self.calls, self.status = current, [], 0

    def context(self, device: int):
        driver = self

        class Pushed:
            def __enter__(self) -> None:
                self.before, driver.current = driver.current, OWN

            def __exit__(self, *_: object) -> None:
                driver.current = self.before

        return Pushed()

    def ask(self):
        self.calls.append("asked")
        return (0, self.current) if self.current is not None else (201, 0)

    def launch(self, config, function, address, extra):
        self.calls.append((int(config.hStream), self.current))
        return (self.status,)


def loaded(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(module, "context", driver.context)
    monkeypatch.setattr(module, "cuda", lambda: bindings)
    kernel = object.__new__(Kernel)
    kernel.device, kernel.shared_bytes, kernel._configs = 0, 1024, {}
    kernel.cubin = SimpleNamespace(symbol="fp8_gemm")
    kernel._function, kernel._launch = object(), driver.launch
    kernel._current_context, kernel._context = driver.ask, OWN
    return kernel


@pytest.mark.parametrize("current", [OWN, OTHER, None])
def test_a_created_stream_needs_no_question(current, monkeypatch):
    driver = Driver(current)
    loaded(driver, monkeypatch).bind(132, 384, module.Arguments())(CREATED)
    assert driver.calls == [(CREATED, current)]


@pytest.mark.parametrize("stream", [0, 1, 2])
@pytest.mark.parametrize("current", [OWN, OTHER, None])
def test_the_legacy_and_the_per_thread_stream_are_those_of_the_kernels_context(current, stream, monkeypatch):
    driver = Driver(current)
    loaded(driver, monkeypatch).bind(132, 384, module.Arguments())(stream)
    assert driver.calls == ["asked", (stream, OWN)]
    assert driver.current == current


def test_one_launch_configuration_a_stream(monkeypatch):
    driver = Driver(OWN)
    kernel = loaded(driver, monkeypatch)
    first, second = kernel.bind(132, 384, module.Arguments()), kernel.bind(132, 384, module.Arguments())
    for start in (first, second, first):
        start(CREATED)
    assert [list(streams) for streams in kernel._configs.values()] == [[CREATED]]
    config = kernel._configs[132, 384, False][CREATED]
    assert (config.gridDimX, config.blockDimX, config.sharedMemBytes, int(config.hStream)) == (132, 384, 1024, CREATED)


def test_a_launch_that_begins_early_says_so(monkeypatch):
    kernel = loaded(Driver(OWN), monkeypatch)
    kernel.bind(132, 384, module.Arguments(), True)(CREATED)
    kernel.bind(132, 384, module.Arguments())(CREATED)
    early, usual = (kernel._configs[132, 384, is_early][CREATED] for is_early in (True, False))
    assert (early.numAttrs, usual.numAttrs) == (1, 0)
    (attribute,) = early.attrs
    assert attribute.id == bindings.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    assert attribute.value.programmaticStreamSerializationAllowed == 1


def test_what_the_driver_refuses_is_raised(monkeypatch):
    driver = Driver(OWN)
    driver.status = 400
    monkeypatch.setattr(module, "check", refuse)
    with pytest.raises(CudaError, match=r"cuLaunchKernelEx\(fp8_gemm\)"):
        loaded(driver, monkeypatch).bind(1, 384, module.Arguments())(CREATED)


def refuse(status: tuple[int], call: str) -> None:
    raise CudaError("CUDA_ERROR_INVALID_HANDLE", "invalid resource handle", call)
