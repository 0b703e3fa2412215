"""What stands beside the masked suite: a kernel that only reads as many bytes as the groups' weights have."""

from __future__ import annotations

import math
from ctypes import c_uint64, c_void_p
from functools import lru_cache
from typing import Any

from nvgemm.bench.contender import Contender, Launch
from nvgemm.bench.grouped_operands import Masked
from nvgemm.runtime import driver
from nvgemm.runtime.build import build
from nvgemm.runtime.kernel import Arguments, Kernel, load

NAME = "read_floor"
_NUM_THREADS, _CTAS_PER_SM, _UNIT = 512, 2, 16  # of kernels_cu/read_only.cu


def _launcher(o: Masked) -> Launch:
    device = driver.device(o.torch.cuda.current_device())
    kernel, weights, grid = _kernel(device.ordinal), o.b.data, _CTAS_PER_SM * device.num_sms
    sums = o.torch.zeros(grid * _NUM_THREADS // 32, dtype=o.torch.int32, device="cuda")
    pointers = c_void_p(weights.data_ptr()), c_void_p(sums.data_ptr())
    arguments = Arguments(*pointers, c_uint64(o.shape.weight_bytes // _UNIT))

    def launch(keep: Any = weights) -> Any:
        kernel.launch(grid, _NUM_THREADS, arguments, o.torch.cuda.current_stream().cuda_stream)
        return sums

    return launch


def _error(o: Masked, sums: Any, exact: Any) -> float:
    """None where all words have been read, which their sum of 32 bits tells."""
    words = o.b.data.view(o.torch.int32).flatten()[: o.shape.weight_bytes // 4]
    return 0.0 if (int(sums.sum()) - int(words.sum())) % (1 << 32) == 0 else math.inf


@lru_cache
def _kernel(device: int) -> Kernel:
    return load(build("read_only", {}), device)


READ_FLOOR = Contender(NAME, "a kernel that only reads the weights of the groups with rows", False, _launcher, _error)
