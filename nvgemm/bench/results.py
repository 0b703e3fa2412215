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
from nvgemm.bench.contender import OURS, Contender
from nvgemm.bench.peers import LINE_UPS
from nvgemm.bench.read_floor import READ_FLOOR
from nvgemm.bench.shapes import Shape, shape_name
from nvgemm.bench.suites import SUITES
from nvgemm.explain import TENSOR_FLOP_PER_CLOCK
from nvgemm.runtime import driver, nvrtc

SCHEMA = 1
LOST = 0.98  # below this ratio to the envelope a shape is lost, if it still is when timed again
_SAME_JOB = list(
    dict.fromkeys(peer.name for line_up in LINE_UPS.values() for peer in line_up if peer.same_job and peer.name != OURS)
)

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


def record(shape: Shape, num_sms: int, times: Mapping[str, Times]) -> Record:
    """One shape: every contender's times, the envelope, and how far the machine is used.

    ``tensor_share`` is the share of the tensor cores' rate. ``read_share`` is that of a kernel that only reads the
    weights, None where it was not measured. FLOP and bytes are those of valid rows.
    """
    ours, read = times[OURS], times.get(READ_FLOOR.name)
    rate = TENSOR_FLOP_PER_CLOCK * num_sms * ours.mhz if ours.mhz else None
    return {
        **shape.facts,
        "times": {name: asdict(of) for name, of in times.items()},
        "envelope": envelope(times),
        "retimed": False,
        "again": None,
        "tensor_share": shape.flop / ours.us / rate if rate else None,
        "read_share": read.us / ours.us if read else None,
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


def summary(suite: str, shapes: Iterable[Record]) -> list[Record]:
    """Speed-up over the envelope by range of rows: geometric mean, least, and the shapes that are lost."""
    compared = [shape for shape in shapes if shape["envelope"]]
    parts = []
    for title, (low, high) in SUITES[suite].ranges.items():
        part = [shape for shape in compared if low <= (shape["rows"] if "rows" in shape else shape["m"]) <= high]
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
    """Such as ``64x4096x7168`` or ``g8:4096x4096x7168``."""
    return shape.get("name") or shape_name(shape["m"], shape["n"], shape["k"])  # older files have no "name"


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
