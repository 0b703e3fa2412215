"""Working memory of the kernels: one block for each device and stream, which grows and is never given back."""

from __future__ import annotations

import threading

from nvgemm.choice.problem import align
from nvgemm.runtime import driver
from nvgemm.runtime.allocation import Block, refuse_capture

_PER_THREAD = 2  # CU_STREAM_PER_THREAD: one handle, another stream in each thread
_GRAIN = 1 << 20  # bytes; small growths would allocate again and again

# Two threads that launch on one stream share its block: hold the lock from `scratch` to the last launch that reads it.
lock = threading.RLock()
_blocks: dict[tuple[int, int, int], Block] = {}
_recorded: set[tuple[int, int, int]] = set()  # blocks whose address a graph may have recorded
_kept: list[Block] = []  # outgrown, but still in a graph


def scratch(device: int, stream: int, nbytes: int) -> int:
    """Pointer to at least `nbytes` of working memory on `device`, 256-byte aligned, for work on `stream`.

    Its contents last until the next call for the same stream. A block that a capture was given stays valid for good,
    so that the graph can be replayed.

    Raises
    ------
    RuntimeError
        `stream` is capturing a graph and the block is too small.
    """
    key = (device, stream, threading.get_ident() if stream == _PER_THREAD else 0)
    with lock, driver.context(device):
        block = _blocks.get(key)
        if block is None or block.nbytes < nbytes:
            refuse_capture(
                stream,
                f"{nbytes} bytes of scratch would have to be allocated",
                "call once with the same shapes on this stream before the capture",
            )
            if block is not None and key in _recorded:
                _kept.append(block)
                _recorded.discard(key)
            block = _blocks[key] = Block(device, align(max(nbytes, 1), _GRAIN), stream)
        elif driver.is_capturing(stream):
            _recorded.add(key)
        return block.ptr
