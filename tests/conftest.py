"""What every test may use: the `gpu` marker's skip, a seeded `rng`, and a cubin cache of the test's own."""

from __future__ import annotations

import functools
import os
import secrets
import zlib
from pathlib import Path

import pytest

from nvgemm import settings

SEED = int(os.environ.get("NVGEMM_TEST_SEED") or secrets.randbits(32))


@functools.cache
def why_no_gpu() -> str | None:
    """Reason to skip a test marked `gpu`; None where device 0 is a Hopper GPU."""
    from nvgemm.errors import CudaError, UnsupportedDeviceError
    from nvgemm.runtime import driver

    try:
        driver.require_hopper(0)
    except (CudaError, UnsupportedDeviceError) as error:
        return f"needs a Hopper GPU: {error}"
    return None


def pytest_report_header() -> str:
    return f"random numbers: NVGEMM_TEST_SEED={SEED}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and (reason := why_no_gpu()):
        pytest.skip(reason)


@pytest.fixture
def rng(request):
    """NumPy generator, fresh for each run and each test; a failing test shows the seed that repeats it."""
    import numpy

    print(f"repeat with NVGEMM_TEST_SEED={SEED}")
    return numpy.random.default_rng([SEED, zlib.crc32(request.node.nodeid.encode())])


@pytest.fixture
def cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty cubin cache for one test: no entry is found by chance, and none is left behind."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(settings, "cache_dir", str(folder))
    monkeypatch.setattr(settings, "bundle_dir", None)
    return folder
