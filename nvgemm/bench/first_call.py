"""Host time of the first call of a kernel: compiled, from the disk cache, and as the first of its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

SHAPES = ((64, 4096, 7168), (4096, 4096, 7168), (4096, 576, 7168), (4096, 2112, 7168))
WARM = ((128, 1024, 512), (64, 1024, 4096))  # these load modules and the compiler, which a process does once
PROCESSES = 5


def collect() -> dict[str, float]:
    """Times in ms by title. Each kind runs in a process of its own, over one cache."""
    with tempfile.TemporaryDirectory() as cache:
        times = {f"compiled: {shape}": ms for shape, ms in _in_process("kernels", cache).items()}
        times |= {f"from the disk cache: {shape}": ms for shape, ms in _in_process("kernels", cache).items()}
        runs = sorted((_in_process("process", cache) for _ in range(PROCESSES)), key=lambda run: sum(run.values()))
        return times | runs[PROCESSES // 2]


def _in_process(what: str, cache: str) -> dict[str, float]:
    """What `what` returns, called in a process that runs this file by its path: ``-m`` would import nvgemm first.

    Python's bytecode is kept from one process to the next, as an installation has it.
    """
    settings = {"NVGEMM_CACHE_DIR": cache, "NVGEMM_BUNDLE_DIR": "", "NVGEMM_COMPILE": "auto", "NVGEMM_HINTS": "0"}
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": os.path.join(cache, "bytecode")}
    environment = {**os.environ, **settings, **bytecode, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-P", __file__, what]  # -P: the files beside this one are no top-level modules
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def kernels() -> dict[str, float]:
    """The first call of each shape; framework, compiler and nvgemm are loaded."""
    import cupy

    import nvgemm

    times = {}
    for m, n, k in (*WARM, *SHAPES):
        a = nvgemm.per_token_cast_to_fp8(cupy.random.standard_normal((m, k), dtype="float32"))
        b = nvgemm.per_block_cast_to_fp8(cupy.random.standard_normal((n, k), dtype="float32"))
        d = cupy.empty((m, n), "uint16")
        cupy.cuda.Device().synchronize()
        times[f"{m}×{n}×{k}"] = _milliseconds(lambda a=a, b=b, d=d: nvgemm.fp8_gemm_nt(a, b, d))  # type: ignore[misc]
    return dict(list(times.items())[len(WARM) :])


def process() -> dict[str, float]:
    """The first call of a process that has its framework and its operands, from ``import nvgemm`` on to the result."""
    import cupy

    m, n, k = SHAPES[0]
    a = cupy.zeros((m, k), "uint8"), cupy.ones((k // 128, m), "float32").T
    b = cupy.zeros((n, k), "uint8"), cupy.ones((n // 128, k // 128), "float32")
    d = cupy.empty((m, n), "uint16")
    cupy.cuda.Device().synchronize()

    def load() -> Any:
        import nvgemm

        return nvgemm.fp8_gemm_nt

    def call() -> None:
        load()(a, b, d)
        cupy.cuda.Device().synchronize()

    imported, called = _milliseconds(load), _milliseconds(call)
    title = "first call of a process, over the framework's import"
    return {"  import nvgemm": imported, "  the call": called, title: imported + called}


def _milliseconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    print(json.dumps({"kernels": kernels, "process": process}[sys.argv[1]]()))
