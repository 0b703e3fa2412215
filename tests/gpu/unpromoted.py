"""Launches `unpromoted.cu`: E4M3 codes summed over all of K in the tensor core."""

from __future__ import annotations

from ctypes import c_uint32, c_void_p
from functools import cache
from pathlib import Path

import numpy as np

from nvgemm import Array
from nvgemm.runtime import driver, nvrtc
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.kernel import Arguments, Kernel, load
from nvgemm.runtime.specialize import Source

SOURCE = Path(__file__).with_suffix(".cu")


def compiled() -> nvrtc.Compiled:
    return nvrtc.compiler().compile(Source("unpromoted", {"unpromoted.cu": SOURCE.read_text()}))


@cache
def kernel() -> Kernel:
    cubin = compiled().cubin
    return load(Cubin(cubin, cubin, "unpromoted", None, {"compiler": nvrtc.compiler().version}, {}), 0)


def unpromoted(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """FP32 ``a @ b.T`` of codes [M, K] and [N, K] as one chain of WGMMA; M and N multiples of 64, K of 128."""
    (m, k), n = a.shape, b.shape[0]
    assert m % 64 == n % 64 == k % 128 == 0
    left, right, d = Array.from_numpy(a), Array.from_numpy(b), Array.empty((m, n), "float32")
    with driver.context(0):
        arguments = Arguments(*(c_void_p(x.ptr) for x in (left, right, d)), c_uint32(n), c_uint32(k))
        kernel().launch(m // 64 * (n // 64), 128, arguments, 0)
    return d.to_numpy()
