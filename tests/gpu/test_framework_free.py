"""A process with cuda-python and NumPy alone quantises and multiplies; a second one takes the kernels from the disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]

QUICK_START = """
import sys
sys.modules.update(cupy=None, torch=None)
import numpy as np, nvgemm

x_host = np.random.default_rng(1).standard_normal((64, 7168)).astype(np.float32)
w_host = np.random.default_rng(2).standard_normal((576, 7168)).astype(np.float32)
x, w = nvgemm.Array.from_numpy(x_host), nvgemm.Array.from_numpy(w_host)
a, b = nvgemm.per_token_cast_to_fp8(x), nvgemm.per_block_cast_to_fp8(w)
d = nvgemm.fp8_gemm_nt(a, b).to_numpy()

from nvgemm import reference
qa, qb = reference.per_token_cast_to_fp8(x_host), reference.per_block_cast_to_fp8(w_host)
ref, sums = reference.gemm(*qa, *qb), reference.absolute_gemm(*qa, *qb)
nvgemm.testing.assert_close(d.astype(np.float32), ref, sums, blocks=56)
early = nvgemm.fp8_gemm_nt(a, b, pdl=True, weights_static=True).to_numpy()
assert (early.view(np.uint16) == d.view(np.uint16)).all()
assert not {"cupy", "torch"} & {name for name, module in sys.modules.items() if module is not None}
plan = nvgemm.plan(a, b)
print(plan.cubin_path)
"""


def run(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", QUICK_START],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    return done.stdout.strip()


def test_quick_start(tmp_path):
    cache = str(tmp_path / "cache")
    first = run(NVGEMM_CACHE_DIR=cache, NVGEMM_BUNDLE_DIR="", NVGEMM_COMPILE="auto")
    assert Path(first).parent == Path(cache)
    written = {path: path.stat().st_mtime_ns for path in Path(cache).rglob("*")}
    assert run(NVGEMM_CACHE_DIR=cache, NVGEMM_BUNDLE_DIR="", NVGEMM_COMPILE="never") == first
    assert {path: path.stat().st_mtime_ns for path in Path(cache).rglob("*")} == written
