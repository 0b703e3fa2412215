"""How many SMs a product takes: set for all calls, named in one, and refused where it is no such number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import nvgemm
from nvgemm.choice.problem import Problem
from nvgemm.runtime import driver, gemm_kernel, sm_limit

H100 = driver.Device(0, "H100", (9, 0), 132, 1_980_000, 50 << 20, 3_350_000_000_000, 232_448)


@pytest.fixture(autouse=True)
def no_limit(monkeypatch):
    monkeypatch.setattr(sm_limit, "limit", None)
    monkeypatch.setattr(driver, "require_hopper", lambda ordinal: H100)
    monkeypatch.setattr(driver, "device", lambda ordinal: H100)
    monkeypatch.setattr(driver, "current_device", lambda: 0)


def test_what_is_set_is_read_and_given_back():
    assert nvgemm.get_num_sms() == 132
    nvgemm.set_num_sms(77)
    assert nvgemm.get_num_sms() == 77
    nvgemm.set_num_sms(None)
    assert nvgemm.get_num_sms() == 132


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0, ValueError, "1 or more, got 0"),
        (-2, ValueError, "got -2"),
        (True, ValueError, "got True"),
        (1.5, TypeError, "expected an int, got 1.5"),
        ("8", TypeError, "got '8'"),
    ],
)
def test_what_is_no_number_of_sms_is_refused_and_changes_nothing(value, error, text):
    nvgemm.set_num_sms(5)
    with pytest.raises(error, match=rf"num_sms: .*{text}"):
        nvgemm.set_num_sms(value)
    assert nvgemm.get_num_sms() == 5


def test_a_device_is_taken_whole_or_in_part():
    assert sm_limit.within(0, None) is H100
    assert sm_limit.within(0, 131) == H100._replace(num_sms=131)
    with pytest.raises(ValueError, match=r"num_sms: 133 is more than the 132 SMs of device 0 \(H100\)"):
        sm_limit.within(0, 133)


@pytest.fixture
def loads(monkeypatch) -> list[int]:
    """What is loaded, by device; nothing is built."""
    loaded: list[int] = []
    monkeypatch.setattr(gemm_kernel, "_kernels", {})
    monkeypatch.setattr(gemm_kernel, "_modules", {})
    monkeypatch.setattr(gemm_kernel, "build_config", lambda config, *made: SimpleNamespace(is_new=False))
    monkeypatch.setattr(gemm_kernel, "load", lambda cubin, ordinal, shared_bytes: loaded.append(ordinal))
    return loaded


def test_a_kernel_whose_tiles_begin_otherwise_can_stand_in(loads):
    divided, ragged = Problem(256, 4096, 7168, True), Problem(200, 4096, 7168, True)
    assert gemm_kernel.loaded_otherwise(ragged, 0, "asis", None) is None
    first = gemm_kernel.load_gemm_kernel(divided, 0, "asis", None)
    assert gemm_kernel.gemm_kernel(ragged, 0, "asis", None) is None
    other = gemm_kernel.loaded_otherwise(ragged, 0, "asis", None)
    assert other is not None
    assert (other.config, other.config.begins_inside, len(loads)) == (first.config, False, 1)


def test_one_module_serves_every_number_of_sms(loads):
    problem = Problem(4096, 32768, 7168, True)
    assert gemm_kernel.gemm_kernel(problem, 0, "asis", 130) is None
    first = gemm_kernel.load_gemm_kernel(problem, 0, "asis", 130)
    second = gemm_kernel.gemm_kernel(problem, 0, "asis", 128)
    assert second is not None
    assert (first.config, first.device.num_sms, second.device.num_sms) == (second.config, 130, 128)
    assert gemm_kernel.gemm_kernel(problem, 0, "asis", 130) is first
    assert len(loads) == 1
