"""Device time of a launch, by CUDA events."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from nvgemm.runtime import driver

WARM_UP = 0.15  # seconds: an idle card clocks at a fraction of its speed


def median_seconds(launch: Callable[[], object], *, stream: int = 0, device: int = 0, rounds: int = 50) -> float:
    """Median time of `launch` on the device in seconds: launches back to back, the L2 as the last one left it.

    Parameters
    ----------
    launch : callable
        Puts work on `stream` without waiting for it; called `rounds` times after the warm-up.
    """
    with driver.context(device):
        _warm_up(launch, stream)
        pairs = [(_event(), _event()) for _ in range(rounds)]
        for start, end in pairs:
            _record(start, stream)
            launch()
            _record(end, stream)
        driver.check(driver.cuda().cuEventSynchronize(pairs[-1][1]), "cuEventSynchronize")
        times = [_milliseconds(start, end) for start, end in pairs]
        for event in (event for pair in pairs for event in pair):
            driver.check(driver.cuda().cuEventDestroy(event), "cuEventDestroy")
    return statistics.median(times) * 1e-3


def _warm_up(launch: Callable[[], object], stream: int) -> None:
    until = time.perf_counter() + WARM_UP
    while time.perf_counter() < until:
        for _ in range(10):
            launch()
        driver.check(driver.cuda().cuStreamSynchronize(stream), "cuStreamSynchronize")


def _event() -> Any:
    return driver.check(driver.cuda().cuEventCreate(0), "cuEventCreate")


def _record(event: Any, stream: int) -> None:
    driver.check(driver.cuda().cuEventRecord(event, stream), "cuEventRecord")


def _milliseconds(start: Any, end: Any) -> float:
    return float(driver.check(driver.cuda().cuEventElapsedTime(start, end), "cuEventElapsedTime"))
