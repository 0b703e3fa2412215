"""A suite from end to end: every contender on every shape, checked, timed, and what was lost timed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nvgemm.bench import cold, libraries, sustained
from nvgemm.bench.cold import Times
from nvgemm.bench.contender import OURS, Contender, Launch
from nvgemm.bench.peers import contenders
from nvgemm.bench.results import Record, header, is_lost, record, summary, timed_again
from nvgemm.bench.shapes import Shape
from nvgemm.bench.suites import SUITES
from nvgemm.bench.workload import OPERANDS
from nvgemm.choice import checks
from nvgemm.runtime import driver

_TOLERANCE = {True: 5e-3, False: 0.1}  # relative Frobenius error: BF16 rounding is 1.7e-3, other quantisations 4e-2


class Bench:
    """One run of a suite; `results` grows as it goes on, so that an interrupted run loses nothing.

    Parameters
    ----------
    shapes : sequence of DenseShape or GroupedShape, optional
        Default: the whole suite.
    names : sequence of str, optional
        Contenders beside nvgemm; default: all that can be imported.
    rounds : int
        Cold: times that each contender is launched.
    seconds : float
        Sustained: time that each contender runs for.
    command : str
        What the results say that they were made with.

    Raises
    ------
    UnsupportedDeviceError, ModuleNotFoundError, ValueError
        Device 0 is no Hopper GPU, torch is absent, or a contender or shape is not possible.
    """

    def __init__(
        self,
        suite: str = "dense",
        mode: str = "cold",
        shapes: Sequence[Shape] | None = None,
        names: Sequence[str] | None = None,
        *,
        rounds: int = 30,
        seconds: float = 2.0,
        command: str,
    ) -> None:
        self.shapes = list(shapes or SUITES[suite].shapes)
        for shape in self.shapes:
            checks.sizes(shape.m, shape.n, shape.k)
        self._num_sms = driver.require_hopper(0).num_sms
        self._torch = libraries.torch()
        self._suite, self._operands = suite, OPERANDS[suite]
        self._contenders, missing = contenders(suite, names)
        self._refused: Record = {}
        self._rounds, self._seconds = rounds, seconds
        self._flush = cold.Flush(self._torch)
        self._measure = {"cold": self._cold, "sustained": self._sustained}[mode]
        self.results = header(suite, mode, self._contenders, missing) | {
            "command": command,
            "rounds": rounds if mode == "cold" else None,
            "seconds": seconds if mode == "sustained" else None,
            "refused": self._refused,
            "shapes": [],
            "complete": False,
        }

    def run(self, tell: Callable[[Record], object]) -> None:
        """Measure all shapes, then those that were lost again; `tell` gets each record."""
        records = self.results["shapes"]
        for shape in self.shapes:
            records.append(record(shape, self._num_sms, self._measure(shape)))
            tell(records[-1])
        for i, first in enumerate(records):
            if is_lost(first):
                records[i] = timed_again(first, self._measure(self.shapes[i]))
                tell(records[i])
        self.results["complete"] = True

    def finish(self) -> Record:
        """The results so far, with their summary."""
        self.results["summary"] = summary(self._suite, self.results["shapes"])
        return self.results

    def _cold(self, shape: Shape) -> dict[str, Times]:
        launches = self._launches(self._operands(self._torch, shape))
        return cold.measure(self._torch, self._flush, launches, self._rounds)

    def _sustained(self, shape: Shape) -> dict[str, Times]:
        sets = sustained.sets_of(shape.bytes)
        rotated = [self._launches(self._operands(self._torch, shape)) for _ in range(sets)]
        for launches in rotated:
            if fickle := launches.keys() ^ rotated[0].keys():
                name = min(fickle)
                why = self._refused[name][shape.name]
                raise RuntimeError(f"{name} runs some operands of {shape.name} and refuses others: {why}")
        runs = {name: [launches[name] for launches in rotated] for name in rotated[0]}
        return sustained.measure(self._torch, runs, self._seconds)

    def _launches(self, operands: Any) -> dict[str, Launch]:
        """What launches each contender that can do this shape, each result checked once."""
        exact, launches = operands.exact(), {}
        for contender in self._contenders:
            try:
                launch = contender.launcher(operands)
                operands.clear()  # else the result of the contender before could pass for this one's
                result = launch()
            except (RuntimeError, ValueError) as error:  # this library has no kernel for the shape
                if contender.name == OURS or isinstance(error, self._torch.cuda.OutOfMemoryError):
                    raise
                self._refused.setdefault(contender.name, {})[operands.name] = str(error).split("\n")[0]
                continue
            _check(contender, operands, result, exact)
            launches[contender.name] = launch
        return launches


def _check(contender: Contender, operands: Any, result: Any, exact: Any) -> None:
    error = contender.error(operands, result, exact)
    if not error < _TOLERANCE[contender.same_job]:
        raise RuntimeError(f"{contender.name} is wrong at {operands.name}: relative error {error:.1e}")
