"""Device memory of our own: allocated and freed in stream order, never inside a graph capture."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from nvgemm.runtime import driver

_waiting: deque[tuple[int, int, int]] = deque()  # (ptr, device, stream) of blocks dropped while their stream captured


class Block:
    """One allocation of `nbytes` on `device`, ordered by `stream`; it is freed there when the last reference goes.

    `keep` is held as long as the block: the stream object that the handle came from, which must outlive it.
    """

    __slots__ = ("device", "keep", "nbytes", "ptr", "stream")

    def __init__(self, device: int, nbytes: int, stream: int, keep: Any = None) -> None:
        self.ptr, self.nbytes, self.device, self.stream, self.keep = 0, nbytes, device, stream, keep
        if not nbytes:
            return
        with driver.context(device):
            refuse_capture(stream, f"{nbytes} bytes would have to be allocated", "make the array before the capture")
            _free_waiting()
            self.ptr = int(driver.check(driver.cuda().cuMemAllocAsync(nbytes, stream), "cuMemAllocAsync"))

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At interpreter exit the context may be gone already, and the process gives everything back anyway.
        if self.ptr and not is_finalizing():
            _free(self.ptr, self.device, self.stream)


def _free(ptr: int, device: int, stream: int) -> None:
    with driver.context(device):
        if driver.is_capturing(stream):
            _waiting.append((ptr, device, stream))
        else:
            driver.check(driver.cuda().cuMemFreeAsync(ptr, stream), "cuMemFreeAsync")


def _free_waiting() -> None:
    for _ in range(len(_waiting)):
        _free(*_waiting.popleft())


def refuse_capture(stream: int, what: str, instead: str) -> None:
    """Raise, before anything is recorded, where `stream` is capturing a graph; its context must be current.

    Raises
    ------
    RuntimeError
        With `what` would have to happen and what to do `instead`.
    """
    if driver.is_capturing(stream):
        raise RuntimeError(f"stream {stream:#x} is capturing a graph, and {what}; {instead}")


def copy_in(block: Block, host: int) -> None:
    """Copy a block's size from address `host`, and wait: the host memory is free for other use on return."""
    if block.nbytes:
        with driver.context(block.device):
            copied = driver.cuda().cuMemcpyHtoDAsync(block.ptr, host, block.nbytes, block.stream)
            driver.check(copied, "cuMemcpyHtoDAsync")
            driver.check(driver.cuda().cuStreamSynchronize(block.stream), "cuStreamSynchronize")


def copy_out(host: int, ptr: int, nbytes: int, device: int, stream: int) -> None:
    """Copy `nbytes` to address `host` after the work on `stream`, and wait for it."""
    if nbytes:
        with driver.context(device):
            refuse_capture(stream, "copying to the host would have to wait", "copy after the capture")
            copied = driver.cuda().cuMemcpyDtoHAsync(host, ptr, nbytes, stream)
            driver.check(copied, "cuMemcpyDtoHAsync")
            driver.check(driver.cuda().cuStreamSynchronize(stream), "cuStreamSynchronize")


def order_after(consumer: int, producer: int, device: int) -> None:
    """Let work that `consumer` is given from now on wait for what `producer` has been given."""
    if consumer == producer:
        return
    with driver.context(device):
        cuda = driver.cuda()
        event = driver.check(cuda.cuEventCreate(cuda.CUevent_flags.CU_EVENT_DISABLE_TIMING), "cuEventCreate")
        try:
            driver.check(cuda.cuEventRecord(event, producer), "cuEventRecord")
            driver.check(cuda.cuStreamWaitEvent(consumer, event, 0), "cuStreamWaitEvent")
        finally:
            driver.check(cuda.cuEventDestroy(event), "cuEventDestroy")
