"""Host time of the first call of a kernel: compiled, and from the disk cache, each in a fresh process."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
import time

SHAPES = ((64, 4096, 7168), (4096, 4096, 7168), (4096, 576, 7168), (4096, 2112, 7168))
WARM = ((128, 1024, 512), (64, 1024, 4096))  # these load modules and the compiler, which a process does once


def run() -> None:
    """Print ms a first call, compiled and from the cache; the compiler and the framework are loaded."""
    with tempfile.TemporaryDirectory() as cache:
        for title in ("compiled", "from the disk cache"):
            environment = {**os.environ, "NVGEMM_CACHE_DIR": cache, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-m", "nvgemm.bench.first_call", title]
            subprocess.run(command, env=environment, check=True)


def _measure(title: str) -> None:
    cupy = importlib.import_module("cupy")
    import nvgemm

    for shape in (*WARM, *SHAPES):
        m, n, k = shape
        a = nvgemm.per_token_cast_to_fp8(cupy.random.standard_normal((m, k), dtype="float32"))
        b = nvgemm.per_block_cast_to_fp8(cupy.random.standard_normal((n, k), dtype="float32"))
        d = cupy.empty((m, n), "uint16")
        cupy.cuda.Device().synchronize()
        start = time.perf_counter()
        nvgemm.fp8_gemm_nt(a, b, d)
        if shape not in WARM:
            print(f"{title:<22}{m:>6}{n:>7}{k:>7}{(time.perf_counter() - start) * 1e3:>10.2f} ms", flush=True)


if __name__ == "__main__":
    _measure(sys.argv[1])
