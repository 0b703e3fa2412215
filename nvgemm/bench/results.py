"""What a run of a suite gives, as plain data: a record a shape, the envelope, and the summary."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from nvgemm import __version__
from nvgemm.bench.cold import Times
from nvgemm.bench.peers import ALL, OURS, Contender
from nvgemm.bench.suites import RANGES
from nvgemm.choice.problem import traffic_bytes_with_scales
from nvgemm.runtime import driver, nvrtc

SCHEMA = 1
LOST = 0.98  # below this ratio to the envelope a shape is lost, if it still is when timed again
FLOP_PER_CLOCK = 8192  # of the tensor cores of one SM, FP8
_SAME_JOB = [contender.name for contender in ALL if contender.same_job and contender.name != OURS]

Record = dict[str, Any]


def header(suite: str, mode: str, rounds: int, found: Iterable[Contender], missing: Mapping[str, str]) -> Record:
    """Where, when and with what a run was made."""
    device = driver.require_hopper(0)
    return {
        "schema": SCHEMA,
        "suite": suite,
        "mode": mode,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["nvgemm bench", *(word for word in sys.argv[1:] if word != "bench")]),
        "rounds": rounds,
        "device": {
            "name": device.name,
            "num_sms": device.num_sms,
            "driver": _driver(),
            "memory_bandwidth": device.memory_bandwidth,
        },
        "software": {"nvgemm": __version__, "nvrtc": nvrtc.compiler().version, **_versions()},
        "contenders": {contender.name: contender.what for contender in found},
        "missing": dict(missing),
        "same_job": [contender.name for contender in found if contender.name in _SAME_JOB],
    }


def record(m: int, n: int, k: int, num_sms: int, times: Mapping[str, Times], retimed: bool = False) -> Record:
    """One shape: every contender's times, the envelope, and the share of the tensor cores' rate that is used."""
    ours, flop = times[OURS], 2 * m * n * k
    peers = {name: times[name].us for name in _SAME_JOB if name in times}
    fastest = min(peers, key=lambda name: peers[name], default=None)
    return {
        "m": m,
        "n": n,
        "k": k,
        "flop": flop,
        "bytes": traffic_bytes_with_scales(m, n, k),
        "times": {name: asdict(of) for name, of in times.items()},
        "envelope": fastest and {"peer": fastest, "us": peers[fastest], "ratio": peers[fastest] / ours.us},
        "retimed": retimed,
        "tensor_share": flop / ours.us / (FLOP_PER_CLOCK * num_sms * ours.mhz) if ours.mhz else None,
    }


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


def is_lost(shape: Record) -> bool:
    """The envelope is faster by more than the noise."""
    return bool(shape["envelope"]) and shape["envelope"]["ratio"] < LOST


def name(shape: Record) -> str:
    """Such as ``64x4096x7168``."""
    return "{m}x{n}x{k}".format(**shape)


def geomean(ratios: Iterable[float]) -> float:
    """Geometric mean of at least one positive number."""
    logarithms = [math.log(ratio) for ratio in ratios]
    return math.exp(sum(logarithms) / len(logarithms))


def _versions() -> dict[str, str]:
    """Of the libraries that are loaded by now."""
    loaded = {library: sys.modules.get(library) for library in ("torch", "deep_gemm", "triton")}
    return {library: str(getattr(module, "__version__", "unknown")) for library, module in loaded.items() if module}


def _driver() -> str:
    """The driver's release where NVML tells it, else the CUDA version that it serves."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        return str(nvml.nvmlSystemGetDriverVersion())
    except Exception:  # the package is absent, or there is no NVML on this machine
        return "for CUDA " + ".".join(map(str, driver.driver_version()))
