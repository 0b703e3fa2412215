"""``nvgemm bench`` and ``nvgemm latency`` from end to end, each in a process of its own over an empty cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("cublaslt_block1", "cublaslt_tensor", "bf16")
SHAPE = ("--shape", "64", "576", "7168", "--contenders", *PEERS)


def nvgemm(cache: Path, *arguments: str) -> dict[str, Any]:
    settings = {"NVGEMM_CACHE_DIR": str(cache), "NVGEMM_BUNDLE_DIR": "", "NVGEMM_COMPILE": "auto"}
    done = subprocess.run(
        [sys.executable, "-m", "nvgemm", *arguments, "--json"],
        cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found: dict[str, Any]) -> dict[str, Any]:
    """What holds in both modes; gives the times."""
    assert found["complete"]
    assert found["command"].startswith("nvgemm bench --")
    (shape,) = found["shapes"]
    times = shape["times"]
    assert list(found["contenders"]) == ["nvgemm", *PEERS]
    assert {"nvgemm", "cublaslt_tensor", "bf16"} <= times.keys()  # the other needs a newer torch
    assert times.keys() | found["refused"].keys() == found["contenders"].keys()
    for each in times.values():
        assert each["us"] > 0
        assert 0 <= each["spread"] < 1
        assert 300 < each["mhz"] < 2500
    assert 0 < shape["tensor_share"] < 1
    return times


def test_cold_times(tmp_path):
    pytest.importorskip("torch")
    found = nvgemm(tmp_path, "bench", "--rounds", "3", *SHAPE)
    times = check(found)
    assert (found["rounds"], found["seconds"], found["power"]) == (3, None, None)
    assert all(each["watts"] is None for each in times.values())


def test_sustained_times(tmp_path):
    pytest.importorskip("torch")
    found = nvgemm(tmp_path, "bench", "--mode", "sustained", "--seconds", "0.3", *SHAPE)
    times = check(found)
    assert (found["rounds"], found["seconds"]) == (None, 0.3)
    assert all((each["watts"] is None) == bool(found["power"]) for each in times.values())


def test_masked_beside_what_only_reads(tmp_path):
    pytest.importorskip("torch")
    name = "g6:20x1024x2048:max64:jit"
    options = ("--suite", "masked", "--rounds", "3", "--shape", name, "--contenders", "read_floor")
    found = nvgemm(tmp_path, "bench", *options)
    assert found["complete"]
    assert found["refused"] == {}
    (shape,) = found["shapes"]
    assert shape["name"] == name
    assert shape["times"].keys() == {"nvgemm", "read_floor"}
    assert shape["flop"] == 2 * shape["m"] * 1024 * 2048
    read = shape["times"]["read_floor"]
    assert shape["weight_bytes"] / read["us"] * 1e6 < found["device"]["memory_bandwidth"]
    assert 0 < shape["read_share"] < 1.5


@pytest.mark.parametrize("mode", ["cold", "sustained"])
@pytest.mark.parametrize(
    ("suite", "name"),
    [("contiguous", "g4:300x576x512:jit"), ("offsets", "g16:100x576x512:ragged"), ("chain", "g8:100x576x512:jit")],
)
def test_groups(suite, name, mode):
    """In this process; the bench refuses a wrong result."""
    pytest.importorskip("torch")
    from nvgemm.bench.run import Bench
    from nvgemm.bench.suites import parse

    bench = Bench(suite, mode, [parse(suite, [name])], ["deepgemm"], rounds=3, seconds=0.2, command="nvgemm bench")
    told: list[dict[str, Any]] = []
    bench.run(told.append)
    assert told[0]["name"] == name
    assert told[0]["times"]["nvgemm"]["us"] > 0
    assert 0 < told[0]["tensor_share"] < 1


def numbers(facts: dict[str, Any]) -> Iterator[float]:
    return (value for part in facts.values() if isinstance(part, dict) for value in part.values())


def test_latency(tmp_path):
    pytest.importorskip("cupy")
    facts = nvgemm(tmp_path, "latency")
    parts = {"calls", "parts of a call with known operands", "parts of a call with new operands", "first calls"}
    assert facts.keys() == {"date", "device", *parts}
    assert all(value > 0 for value in numbers(facts))
    first = facts["first calls"]
    assert sum(name.startswith("compiled: ") for name in first) == 4
    assert sum(name.startswith("from the disk cache: ") for name in first) == 4
    whole = first["first call of a process, over the framework's import"]
    assert whole == pytest.approx(first["  import nvgemm"] + first["  the call"])
