"""Counters from which the clusters of a launch draw their tiles; each launch leaves its own at 0, as it found it."""

from __future__ import annotations

import itertools
import threading

from nvgemm.runtime import driver
from nvgemm.runtime.allocation import Block

_COUNTERS = 1 << 16  # sets of operands bound since, before one's counter is another's too
_BYTES = 4

_lock = threading.Lock()
_pools: dict[int, tuple[Block, itertools.count[int]]] = {}


def allocate(device: int) -> None:
    """Make the counters of `device`, all 0, where that has not been done before."""
    with _lock:
        if device in _pools:
            return
        with driver.context(device):
            block = Block(device, _COUNTERS * _BYTES, 0)
            driver.check(driver.cuda().cuMemsetD32(block.ptr, 0, _COUNTERS), "cuMemsetD32")
            driver.check(driver.cuda().cuStreamSynchronize(0), "cuStreamSynchronize")  # launches may be on any stream
        _pools[device] = block, itertools.count()


def counter(device: int) -> int:
    """Pointer to a counter for one set of operands.

    Launches of these that ran at once would write to one D at once, so they may share it.
    """
    block, numbers = _pools[device]
    return block.ptr + next(numbers) % _COUNTERS * _BYTES
