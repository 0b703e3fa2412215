"""Kernel times with a cold L2, several contenders side by side, by torch's profiler."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from nvgemm.bench import clock
from nvgemm.runtime import driver

FLUSH_BYTES = 256 << 20  # five times the L2: written, then as much read, so that no dirty lines are left to write back
SETTLED = 0.98  # of the highest SM clock
MOST_WARM_UP = 1.0  # seconds
Name = TypeVar("Name")  # whatever tells contenders apart
_FLUSH_KERNEL = 40.0  # µs: writing FLUSH_BYTES takes twice as long, a fill of a contender's own less


@dataclass(frozen=True, slots=True)
class Times:
    """Of one contender: µs of all its kernels of a call together, and the clock that they ran at.

    Attributes
    ----------
    us : float
        Median.
    spread : float
        Distance from the median to the lower quartile, as a share of the median.
    mhz : float or None
        SM clock, median.
    watts, joules : float or None
        Power of the card and energy of a call, under sustained load.
    """

    us: float
    spread: float
    mhz: float | None = None
    watts: float | None = None
    joules: float | None = None

    @classmethod
    def of(cls, samples: list[float], mhz: list[float], watts: float | None = None) -> Times:
        """Of samples in µs and their clocks; `watts` is the mean power while they were taken."""
        ordered = sorted(samples)
        median, quarter = statistics.median(ordered), ordered[len(ordered) // 4]
        joules = None if watts is None else watts * median * 1e-6
        return cls(median, (median - quarter) / median, statistics.median(mhz) if mhz else None, watts, joules)


class Flush:
    """Scratch that empties the L2, and warms up before a measurement."""

    def __init__(self, torch: Any) -> None:
        self._torch, self._megahertz = torch, driver.device(torch.cuda.current_device()).clock_khz * 1e-3
        self._write = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
        self._read = torch.zeros(FLUSH_BYTES // 4, dtype=torch.float32, device="cuda")

    def __call__(self) -> None:
        self._write.fill_(1)
        self._read.sum()

    def warm_up(self) -> None:
        """Flush until the SM clock has settled at its highest.

        An idle card clocks at a fraction of its speed; one that has run matrix products is held back for a while.
        """
        until = time.perf_counter() + MOST_WARM_UP
        while time.perf_counter() < until:
            probe = clock.ClockProbe(self._torch, 1)
            for _ in range(16):
                self()
            probe()
            if probe.megahertz()[0] >= SETTLED * self._megahertz:
                return


def measure(torch: Any, flush: Flush, runs: Mapping[Name, Callable[[], object]], rounds: int = 30) -> dict[Name, Times]:
    """Times of `runs`, which alternate in random order, each after a clean flush."""
    order = [name for _ in range(rounds) for name in random.sample(list(runs), len(runs))]
    probe = clock.ClockProbe(torch, len(order))
    flush.warm_up()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA], acc_events=True) as profiler:
        for name in order:
            flush()
            runs[name]()
            probe()
        torch.cuda.synchronize()
    slots = _slots(torch, profiler.events())
    if len(slots) != len(order):
        raise RuntimeError(f"the profiler shows {len(slots)} flushes of {len(order)}")
    samples: dict[Name, list[tuple[float, float]]] = {name: [] for name in runs}
    for name, us, mhz in zip(order, slots, probe.megahertz(), strict=True):
        samples[name].append((us, mhz))
    return {name: _times(name, taken) for name, taken in samples.items()}


def _times(name: object, taken: Sequence[tuple[float, float]]) -> Times:
    """Of a contender's µs and MHz in each round."""
    samples = [us for us, _ in taken]
    if empty := samples.count(0.0):
        raise RuntimeError(f"{name}: the profiler shows no kernel in {empty} of {len(samples)} launches")
    return Times.of(samples, [mhz for _, mhz in taken])


def _slots(torch: Any, events: Any) -> list[float]:
    """Kernel time between each flush and the clock's measurement.

    A flush is a long fill, a reduction, and that one's own memset.
    """
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    slots: list[float] = []
    flushing = False
    for event in sorted(on_device, key=lambda event: event.time_range.start):
        if event.device_time > _FLUSH_KERNEL and "FillFunctor" in event.name:
            flushing = True
        elif flushing:
            if "reduce_kernel" in event.name:
                slots.append(0.0)
                flushing = False
        elif slots and event.name != clock.KERNEL:
            slots[-1] += event.device_time
    return slots
