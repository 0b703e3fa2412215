"""What ``nvgemm bench --json`` wrote, read back, and what follows from it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.results import SCHEMA, is_lost
from nvgemm.bench.suites import MODES
from nvgemm.explain import TENSOR_FLOP_PER_CLOCK

BOOST_MHZ = 1980.0  # highest clock of H100 and H200 (SXM), for files without a measured one


@dataclass(frozen=True, slots=True)
class Time:
    """Of one contender at one shape: µs, MHz and joules a GEMM; the last two where they were measured."""

    us: float
    mhz: float | None
    joules: float | None


@dataclass(frozen=True, slots=True)
class Shape:
    """One product, the times of those that ran it, and the fastest block-scaled peer with our speed-up over it.

    Attributes
    ----------
    lost : bool
        That peer is faster, also when timed again.
    groups : str or None
        Number of groups and rows of each, such as ``g6:20``; None for one product.
    """

    m: int
    n: int
    k: int
    flop: int
    bytes: int
    times: Mapping[str, Time]
    peer: str | None
    ratio: float | None
    lost: bool = False
    groups: str | None = None

    @property
    def label(self) -> str:
        """What tells it from others of its N and K: M, or the groups."""
        return self.groups or str(self.m)

    def tflops(self, contender: str) -> float:
        return self.flop / self.times[contender].us * 1e-6

    @property
    def intensity(self) -> float:
        """FLOP a byte of the least traffic."""
        return self.flop / self.bytes

    @property
    def joules(self) -> dict[str, float]:
        """Joules a GEMM of the contenders whose energy was measured."""
        return {name: time.joules for name, time in self.times.items() if time.joules is not None}


@dataclass(frozen=True, slots=True)
class Results:
    """One file of measurements; `device`, `software` and `summary` as they stand in it.

    Attributes
    ----------
    contenders : tuple of str
        Those that ran at least one shape, in the order of the file.
    rounds : int or None
        Cold: times that each contender was launched.
    complete : bool
        The run was not broken off.
    """

    suite: str
    mode: str
    date: datetime
    command: str
    rounds: int | None
    device: Mapping[str, Any]
    software: Mapping[str, str]
    same_job: frozenset[str]
    shapes: tuple[Shape, ...]
    summary: Sequence[Mapping[str, Any]]
    contenders: tuple[str, ...]
    complete: bool

    @property
    def name(self) -> str:
        """Beginning of the plots' file names."""
        return f"{self.suite}-{self.mode}"

    def is_same_job(self, contender: str) -> bool:
        """Whether it computes what nvgemm does, with block scales; a BF16 product, for one, does not."""
        return contender == OURS or contender in self.same_job

    @property
    def median_mhz(self) -> float | None:
        """Over all times with a measured clock."""
        clocks = [time.mhz for shape in self.shapes for time in shape.times.values() if time.mhz is not None]
        return statistics.median(clocks) if clocks else None

    @property
    def memory_roof(self) -> float:
        """Bytes a second at peak."""
        return float(self.device["memory_bandwidth"])

    @property
    def tensor_roof(self) -> float:
        """FLOP a second of all tensor cores at the median measured clock, else at the boost clock."""
        return TENSOR_FLOP_PER_CLOCK * float(self.device["num_sms"]) * (self.median_mhz or BOOST_MHZ) * 1e6


def read(path: Path) -> Results:
    """Results of one file.

    Raises
    ------
    ValueError
        Not JSON, another schema, an unknown mode, no shapes, or a missing field; the message names the file.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        schema = facts.get("schema") if isinstance(facts, dict) else None
        if schema != SCHEMA:
            raise ValueError(f"schema is {schema!r}; plots are made of schema {SCHEMA}, from nvgemm bench --json")
        return _results(facts)
    except KeyError as error:
        raise ValueError(f"{path}: {error} is missing") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _results(facts: Mapping[str, Any]) -> Results:
    if facts["mode"] not in MODES:
        raise ValueError(f"mode is {facts['mode']!r}, not one of {', '.join(MODES)}")
    if not re.fullmatch(r"[\w-]+", facts["suite"]):
        raise ValueError(f"suite is {facts['suite']!r}; it begins file names, so letters, digits, '_' and '-' only")
    shapes = tuple(_shape(shape) for shape in facts["shapes"])
    if not shapes:
        raise ValueError("shapes is empty; there is nothing to draw")
    plain = {name: facts[name] for name in ("suite", "mode", "command", "rounds", "device", "software", "summary")}
    return Results(
        **plain,
        date=datetime.fromisoformat(facts["date"]),
        same_job=frozenset(facts["same_job"]),
        shapes=shapes,
        complete=facts.get("complete", True),
        contenders=tuple(name for name in facts["contenders"] if any(name in shape.times for shape in shapes)),
    )


def _shape(facts: Mapping[str, Any]) -> Shape:
    times = {name: Time(time["us"], time["mhz"], time["joules"]) for name, time in facts["times"].items()}
    envelope = facts["envelope"] or {"peer": None, "ratio": None}
    sizes = {name: facts[name] for name in ("m", "n", "k", "flop", "bytes")}
    groups = facts["name"].split("x")[0] if "groups" in facts else None
    compared = {"peer": envelope["peer"], "ratio": envelope["ratio"], "lost": is_lost(facts)}
    return Shape(**sizes, **compared, times=times, groups=groups)
