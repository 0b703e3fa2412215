"""What a run of a suite gives, as plain data: a record a shape, the envelope, and the summary."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from nvgemm import __version__
from nvgemm.bench import nvml
from nvgemm.bench.cold import Times
from nvgemm.bench.peers import ALL, OURS, Contender
from nvgemm.bench.suites import RANGES, shape_name
from nvgemm.choice.problem import traffic_bytes_with_scales
from nvgemm.explain import TENSOR_FLOP_PER_CLOCK
from nvgemm.runtime import driver, nvrtc

SCHEMA = 1
LOST = 0.98  # below this ratio to the envelope a shape is lost, if it still is when timed again
_SAME_JOB = [contender.name for contender in ALL if contender.same_job and contender.name != OURS]

Record = dict[str, Any]


def header(suite: str, mode: str, found: Iterable[Contender], missing: Mapping[str, str]) -> Record:
    """Where, when and with what a run is made; ``power`` is why it cannot be measured, or None."""
    device = driver.require_hopper(0)
    return {
        "schema": SCHEMA,
        "suite": suite,
        "mode": mode,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": {
            "name": device.name,
            "num_sms": device.num_sms,
            "driver": _driver(),
            "memory_bandwidth": device.memory_bandwidth,
        },
        "software": {"nvgemm": __version__, "nvrtc": nvrtc.compiler().version, **_versions()},
        "contenders": {contender.name: contender.what for contender in found},
        "missing": dict(missing),
        "power": nvml.joules().why if mode == "sustained" else None,
        "same_job": [contender.name for contender in found if contender.name in _SAME_JOB],
    }


def record(m: int, n: int, k: int, num_sms: int, times: Mapping[str, Times]) -> Record:
    """One shape: every contender's times, the envelope, and the share of the tensor cores' rate that is used."""
    ours, flop = times[OURS], 2 * m * n * k
    return {
        "m": m,
        "n": n,
        "k": k,
        "flop": flop,
        "bytes": traffic_bytes_with_scales(m, n, k),
        "times": {name: asdict(of) for name, of in times.items()},
        "envelope": envelope(times),
        "retimed": False,
        "again": None,
        "tensor_share": flop / ours.us / (TENSOR_FLOP_PER_CLOCK * num_sms * ours.mhz) if ours.mhz else None,
    }


def timed_again(shape: Record, times: Mapping[str, Times]) -> Record:
    """`shape` with the envelope of a second measurement.

    Its times stay the first ones: to measure again what looks bad, and only that, would flatter the summary.
    """
    return {**shape, "retimed": True, "again": envelope(times)}


def envelope(times: Mapping[str, Times]) -> Record | None:
    """The fastest peer that does the same job, and how many times faster we are; None where there is none."""
    peers = {name: times[name].us for name in _SAME_JOB if name in times}
    if not peers:
        return None
    fastest = min(peers, key=lambda name: peers[name])
    return {"peer": fastest, "us": peers[fastest], "ratio": peers[fastest] / times[OURS].us}


def summary(shapes: Iterable[Record]) -> list[Record]:
    """Speed-up over the envelope by range of M: geometric mean, least, and the shapes that are lost."""
    compared = [shape for shape in shapes if shape["envelope"]]
    parts = []
    for title, (low, high) in RANGES.items():
        part = [shape for shape in compared if low <= shape["m"] <= high]
        ratios = [shape["envelope"]["ratio"] for shape in part]
        if part:
            lost = [name(shape) for shape in part if is_lost(shape)]
            parts.append(
                {"range": title, "shapes": len(part), "geomean": geomean(ratios), "least": min(ratios), "lost": lost}
            )
    return parts


def is_lost(shape: Mapping[str, Any]) -> bool:
    """The envelope is faster by more than the noise, also when timed again."""
    decisive = shape.get("again") or shape["envelope"]  # older files have no "again": their times are the second
    return bool(decisive) and decisive["ratio"] < LOST


def name(shape: Record) -> str:
    """Such as ``64x4096x7168``."""
    return shape_name(shape["m"], shape["n"], shape["k"])


def geomean(ratios: Iterable[float]) -> float:
    """Geometric mean of at least one positive number."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logarithms) / len(logarithms))


def _versions() -> dict[str, str]:
    """Of the libraries that are loaded by now, and of the wheels that bring cuBLAS."""
    loaded = {library: sys.modules.get(library) for library in ("torch", "deep_gemm", "triton")}
    versions = {library: str(getattr(module, "__version__", "unknown")) for library, module in loaded.items() if module}
    for wheel in ("nvidia-cublas", "nvidia-cublas-cu12"):
        with suppress(metadata.PackageNotFoundError):
            versions[wheel] = metadata.version(wheel)
    return versions


def _driver() -> str:
    """The driver's release where NVML tells it, else the CUDA version that it serves."""
    return nvml.driver_version().value or "for CUDA " + ".".join(map(str, driver.driver_version()))
