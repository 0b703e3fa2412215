"""Each example runs in a process of its own and prints an error and times that can be right."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).resolve().parents[2]
FP8_ERROR = (2.5, 4.5)  # percent: two roundings to E4M3 of normal or uniform data, and one to BF16


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A cubin cache for all examples, empty at first: they compile what they run."""
    return str(tmp_path_factory.mktemp("cache"))


def printed(example: str, cache: str, *options: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NVGEMM_CACHE_DIR": cache, "NVGEMM_BUNDLE_DIR": ""}
    done = subprocess.run(
        [sys.executable, f"examples/{example}.py", *options],
        cwd=ROOT, env={**environment, "NVGEMM_COMPILE": "auto"}, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("(Cache|Performance|Sass)Warning", done.stderr), done.stderr
    return done.stdout


def number(pattern: str, text: str) -> float:
    """The only number in `text` at the group of `pattern`."""
    (found,) = re.findall(pattern, text)
    return float(found)


def test_cupy_linear(cache):
    pytest.importorskip("cupy")
    text = printed("cupy_linear", cache)
    assert "(4096, 14336)" in text
    assert FP8_ERROR[0] < number(r"error ([\d.]+)% of the FP32 result", text) < FP8_ERROR[1]
    microseconds, rate = number(r"time ([\d.]+) µs", text), number(r"([\d.]+) TFLOP/s", text)
    assert rate == pytest.approx(2 * 4096 * 4096 * 14336 / microseconds * 1e-6, rel=0.01)
    assert 50 < rate < 1979  # the tensor cores' full rate on an H100 SXM
    assert microseconds < number(r"in FP32 ([\d.]+) µs", text)


def test_torch_linear(cache):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    text = printed("torch_linear", cache)
    assert "[2, 2048, 4096] -> [2, 2048, 14336] torch.bfloat16" in text
    assert FP8_ERROR[0] < number(r"error ([\d.]+)% against the BF16 layer", text) < FP8_ERROR[1]
    assert number(r"time ([\d.]+) µs", text) > 2 * 4096 * 4096 * 14336 / 1979e12 * 1e6
    assert number(r"BF16 layer ([\d.]+) µs", text) > 0


def test_framework_free(cache):
    text = printed("framework_free", cache)
    assert "D [128, 2112] = A [128, 7168] · B [2112, 7168]ᵀ" in text
    assert Path(re.findall(r"cubin +(.+)", text)[0]).parent == Path(cache)
    assert FP8_ERROR[0] < number(r"error ([\d.]+)% of the FP32 result", text) < FP8_ERROR[1]
    assert number(r"(\d+) elements changed right of the result", text) == 0


def test_cuda_graph(cache):
    pytest.importorskip("cupy")
    text = printed("cuda_graph", cache)
    assert "captured 5 products of 64 tokens" in text
    assert re.findall(r"replay (\d): the same bits as direct calls, on new activations", text) == ["1", "2", "3"]
    assert 0 < number(r"([\d.]+) µs replayed", text) < 1000
    assert 0 < number(r"([\d.]+) µs launched directly", text) < 1000


MOE_STEPS = ["quantise", "route", "permute", "gate and up projection", "SwiGLU (CuPy)", "quantise again"]
MOE_STEPS += ["down projection", "weighted sum", "layer"]


def test_moe_layer(cache, tmp_path):
    pytest.importorskip("cupy")
    drawn = tmp_path / "steps.png"
    sizes = ("--experts=16", "--tokens=300", "--hidden=1024", "--intermediate=512", "--top-k=4")
    has_matplotlib = importlib.util.find_spec("matplotlib") is not None
    text = printed("moe_layer", cache, *sizes, *((f"--plot={drawn}",) if has_matplotlib else ()))
    assert "300 tokens, 4 of 16 experts, 1024 × 512" in text
    assert 5 < number(r"error ([\d.]+)% of the FP32 layer", text) < 8  # four roundings to E4M3 and a product
    times = dict(re.findall(r"^(\S.*?) +([\d.]+) µs", text, re.MULTILINE))
    assert list(times) == MOE_STEPS
    *steps, total = map(float, times.values())
    assert min(steps) > 0
    assert sum(steps) == pytest.approx(total, abs=1)
    assert drawn.exists() == has_matplotlib
