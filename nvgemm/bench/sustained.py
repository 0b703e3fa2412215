"""Times under sustained load: seconds of back-to-back calls, the clock and the power that the card then holds."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nvgemm.bench import nvml
from nvgemm.bench.clock import ClockProbe
from nvgemm.bench.cold import Name, Times
from nvgemm.choice.problem import ceil_div

ROTATED_BYTES = 200 << 20  # of operands in turn, so that none is still in the L2: four times as much
CHUNK = 0.03  # seconds between two readings of the clock and the timer
SHORTEST_CHUNK = CHUNK / 10  # a chunk is sized by the first launches, which may meet a slow clock
FEWEST = 3  # chunks that count, in a turn however short
SETTLING = 0.4  # share of a turn until clock and power have settled, which is not counted
TURNS = 2  # of every contender, one after the other
SLICE = 0.004  # seconds of a contender that alternates with others: the card's power is steered in tens of milliseconds
HEATING = 0.4  # seconds before these count

Launch = Callable[[], object]


def sets_of(bytes_of_one: int) -> int:
    """Sets of operands to rotate over: at least two, and `ROTATED_BYTES` together."""
    return max(2, ceil_div(ROTATED_BYTES, bytes_of_one))


def probes_of(seconds: float) -> int:
    """Most readings of the clock in a turn of `seconds`."""
    return FEWEST + math.ceil(seconds / SHORTEST_CHUNK)


def measure(torch: Any, runs: Mapping[str, Sequence[Launch]], seconds: float = 1.0) -> dict[str, Times]:
    """Times of contenders that run alone for `seconds`, in turns.

    Parameters
    ----------
    runs : mapping
        For each contender one launch for each set of operands. They are recorded in a CUDA graph, so that the host's
        time does not count.
    """
    graphs = {name: _graph(torch, launches) for name, launches in runs.items()}
    taken: dict[str, list[tuple[list[float], list[float], float | None]]] = {name: [] for name in runs}
    for _ in range(TURNS):
        for name, graph in graphs.items():
            taken[name].append(_turn(torch, graph, len(runs[name]), seconds / TURNS))
    return {name: _times(turns) for name, turns in taken.items()}


def beside(torch: Any, runs: Mapping[Name, Sequence[Launch]], rounds: int) -> dict[Name, Times]:
    """Times of contenders that alternate every few milliseconds, in random order: so one clock and heat serves all.

    Parameters
    ----------
    runs : mapping
        As in `measure`.
    """
    graphs = {name: _graph(torch, launches) for name, launches in runs.items()}
    replays = {name: max(1, round(SLICE / _alone(torch, graph))) for name, graph in graphs.items()}
    until = time.perf_counter() + HEATING
    while time.perf_counter() < until:
        for name, graph in graphs.items():
            _seconds(torch, graph, replays[name])
    samples: dict[Name, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name in random.sample(list(runs), len(runs)):
            taken = _seconds(torch, graphs[name], replays[name])
            samples[name].append(taken * 1e6 / (replays[name] * len(runs[name])))
    return {name: Times.of(of, []) for name, of in samples.items()}


def _times(turns: Sequence[tuple[list[float], list[float], float | None]]) -> Times:
    watts = [turn[2] for turn in turns if turn[2] is not None]
    mean = statistics.fmean(watts) if watts else None
    return Times.of([us for turn in turns for us in turn[0]], [mhz for turn in turns for mhz in turn[1]], mean)


def _graph(torch: Any, launches: Sequence[Launch]) -> Any:
    for launch in launches:  # what compiles, loads or allocates does it here
        launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for launch in launches:
            launch()
    graph.replay()
    torch.cuda.synchronize()
    return graph


def _turn(torch: Any, graph: Any, calls: int, seconds: float) -> tuple[list[float], list[float], float | None]:
    """µs a call and MHz of each chunk once the card has settled, and the mean power over these."""
    replays = max(1, round(CHUNK / _alone(torch, graph)))
    probe, samples = ClockProbe(torch, probes_of(seconds)), list[float]()
    start = time.perf_counter()
    energy: tuple[float, float] | None = None
    while (elapsed := time.perf_counter() - start) < seconds or len(samples) < FEWEST:
        if elapsed >= SETTLING * seconds:
            energy = energy or _energy()
            samples.append(_seconds(torch, graph, replays) * 1e6 / (replays * calls))
        else:
            _seconds(torch, graph, replays)
        probe()
    watts = None
    if energy and (end := _energy()):
        watts = (end[1] - energy[1]) / (end[0] - energy[0])
    return samples, probe.megahertz()[-len(samples) :], watts


def _alone(torch: Any, graph: Any) -> float:
    return min(_seconds(torch, graph, 1) for _ in range(3))  # a host that is held up makes one look long


def _seconds(torch: Any, graph: Any, replays: int) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    for _ in range(replays):
        graph.replay()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) * 1e-3


def _energy() -> tuple[float, float] | None:
    """Time in seconds, and the joules that the card has drawn until then; None where NVML does not tell them."""
    joules = nvml.joules().value
    return None if joules is None else (time.perf_counter(), joules)
