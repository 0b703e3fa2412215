"""Cubins that were built elsewhere, by another NVRTC and without a GPU, load here and give the same bits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from launch_configurations import configuration, job, launch_all

from nvgemm import settings
from nvgemm.choice.config import GemmConfig

pytestmark = pytest.mark.gpu
VARIABLE = "NVGEMM_CARRIED_CUBINS"


@pytest.fixture
def carried() -> Path:
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no cache folder that was filled elsewhere")
    return Path(os.environ[VARIABLE])


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_bytes()) for path in sorted(folder.glob("*/meta.json"))]


def of(record: dict) -> GemmConfig:
    return configuration({name: record["constants"][name.upper()] for name in GemmConfig._fields})


def test_products(carried, tmp_path):
    """M = 300 gives every block a partial tile."""
    dense = [record for record in records(carried) if record["kernel"] == "fp8_gemm"]
    assert dense, f"no kernel fp8_gemm in {carried}"
    dense.sort(key=lambda record: (record["constants"]["SHAPE_N"], record["constants"]["SHAPE_K"]))
    jobs = [job(of(record), 300, policy=record["policy"]) for record in dense]
    environment = {"NVGEMM_BUNDLE_DIR": str(carried.resolve()), "NVGEMM_CACHE_DIR": str(tmp_path / "empty")}
    launch_all(jobs, timeout=120, **environment, NVGEMM_COMPILE="never")
    assert not (tmp_path / "empty").exists()


def test_other_kernels_load(carried, cache_dir, monkeypatch):
    from nvgemm.runtime.build import build
    from nvgemm.runtime.kernel import load

    monkeypatch.setattr(settings, "bundle_dir", str(carried))
    monkeypatch.setattr(settings, "compile", "never")
    for record in records(carried):
        if record["kernel"] != "fp8_gemm":
            cubin = build(record["kernel"], record["constants"], record["policy"])
            assert cubin.meta["compiler"] == record["compiler"]
            load(cubin, 0)
    assert not cache_dir.exists()
