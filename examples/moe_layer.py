"""A mixture-of-experts feed-forward layer on CuPy arrays, its result checked and its time split by step.

Quantise, route, permute, up and gate projection, SwiGLU, quantise, down projection, weighted sum. The activations are
quantised before they are permuted: once for each token, instead of once for each of its experts, to the same bits.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import statistics
import sys
from datetime import date
from typing import Any

import nvgemm

try:
    import cupy as cp
except ImportError:
    sys.exit("moe_layer.py: CuPy is not installed; pip install cupy-cuda13x")

PASSES, WARM_UP = 30, 5

swiglu = cp.ElementwiseKernel(
    "uint16 gate, uint16 up",
    "uint16 h",
    """
    const float x = __uint_as_float(static_cast<unsigned int>(gate) << 16);
    const float y = __uint_as_float(static_cast<unsigned int>(up) << 16);
    const unsigned int bits = __float_as_uint(x / (1.0f + expf(-x)) * y);
    h = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    """,
    "swiglu",
)  # BF16 is the upper half of FP32; CuPy has no arithmetic for it


class Weights:
    """One projection of all experts, E4M3 [experts, out, in] with a scale for each 128×128."""

    def __init__(self, experts: int, n: int, k: int) -> None:
        self.data = cp.empty((experts, n, k), cp.uint8)
        self.scales = cp.empty((experts, -(-n // 128), -(-k // 128)), cp.float32)

    def set(self, expert: int, w: cp.ndarray) -> None:
        quantized = nvgemm.per_block_cast_to_fp8(w)
        self.data[expert], self.scales[expert] = quantized.data.view(cp.uint8), quantized.scales

    @property
    def pair(self) -> tuple[cp.ndarray, cp.ndarray]:
        return self.data, self.scales


class Clock:
    """An event after each step of one pass; nothing waits before the times are asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.events = [cp.cuda.Event()]
        self.events[0].record()

    def done(self, step: str) -> None:
        self.names.append(step)
        self.events.append(cp.cuda.Event())
        self.events[-1].record()

    def microseconds(self) -> dict[str, float]:
        self.events[-1].synchronize()
        pairs = zip(self.events, self.events[1:], strict=False)
        return {name: 1e3 * cp.cuda.get_elapsed_time(*pair) for name, pair in zip(self.names, pairs, strict=True)}


class MoeLayer:
    """``y[t] = Σ weight · down(silu(gate(x[t])) · up(x[t]))`` over the experts that token t has chosen."""

    def __init__(self, experts: int, hidden: int, intermediate: int) -> None:
        self.experts, self.intermediate = experts, intermediate
        self.gate_up = Weights(experts, 2 * intermediate, hidden)  # gate above, up below
        self.down = Weights(experts, hidden, intermediate)

    def __call__(self, x: cp.ndarray, ids: cp.ndarray, weights: cp.ndarray, clock: Clock) -> cp.ndarray:
        """FP32 [tokens, hidden], experts and their FP32 weights [tokens, top_k] to BF16 [tokens, hidden]."""
        a = nvgemm.per_token_cast_to_fp8(x)
        clock.done("quantise")
        routing = nvgemm.moe.route(ids, self.experts)
        clock.done("route")
        a = nvgemm.moe.permute(a, routing)
        clock.done("permute")
        d = nvgemm.m_grouped_fp8_gemm_nt_offsets(a, self.gate_up.pair, None, routing.layout)
        clock.done("gate and up projection")
        h = self.activate(d)
        clock.done("SwiGLU (CuPy)")
        a = nvgemm.per_token_cast_to_fp8(h)
        clock.done("quantise again")
        d = nvgemm.m_grouped_fp8_gemm_nt_offsets(a, self.down.pair, None, routing.layout)
        clock.done("down projection")
        y = nvgemm.moe.combine(d, routing, weights)
        clock.done("weighted sum")
        return y

    def activate(self, d: cp.ndarray) -> cp.ndarray:
        bits = d.view(cp.uint16)
        h = cp.empty((len(d), self.intermediate), cp.uint16)
        swiglu(bits[:, : self.intermediate], bits[:, self.intermediate :], h)
        return h.view(d.dtype)


def expert_in_fp32(x: cp.ndarray, gate_up: cp.ndarray, down: cp.ndarray) -> cp.ndarray:
    gate, up = cp.split(x @ gate_up.T, 2, axis=1)
    return (gate / (1 + cp.exp(-gate)) * up) @ down.T


def normal(rows: int, columns: int) -> cp.ndarray:
    return cp.random.standard_normal((rows, columns), dtype=cp.float32)


def fill(layer: MoeLayer, x: cp.ndarray, ids: cp.ndarray, weights: cp.ndarray) -> cp.ndarray:
    """Give the layer random weights; the FP32 result comes with it, since all weights together do not fit in FP32."""
    hidden, intermediate = x.shape[1], layer.intermediate
    y = cp.zeros_like(x)
    for expert in range(layer.experts):
        gate_up = normal(2 * intermediate, hidden) / hidden**0.5
        down = normal(hidden, intermediate) / intermediate**0.5
        layer.gate_up.set(expert, gate_up)
        layer.down.set(expert, down)
        rows, choices = cp.nonzero(ids == expert)  # a token has an expert once at most, so no row is added to twice
        y[rows] += weights[rows, choices, None] * expert_in_fp32(x[rows], gate_up, down)
    return y


def choose(tokens: int, experts: int, top_k: int) -> tuple[cp.ndarray, cp.ndarray]:
    """A random router: the experts of each token, int64 [tokens, top_k], and their weights, which add up to 1."""
    logits = normal(tokens, experts)
    ids = cp.ascontiguousarray(cp.argsort(-logits, axis=1)[:, :top_k])
    chosen = cp.exp(cp.take_along_axis(logits, ids, axis=1))
    return ids, chosen / chosen.sum(axis=1, keepdims=True)


def relative_error(y: cp.ndarray, ref: cp.ndarray) -> float:
    """‖y − ref‖ / ‖ref‖, Frobenius norms, of BF16 `y`."""
    y = (y.view(cp.uint16).astype(cp.uint32) << 16).view(cp.float32)
    return float(cp.sqrt(cp.square(y - ref).sum() / cp.square(ref).sum()))


def split(layer: MoeLayer, *operands: cp.ndarray) -> dict[str, float]:
    """Median µs of each step, of passes back to back, so that the device need not wait for the host."""
    clocks = []
    for _ in range(WARM_UP + PASSES):
        clocks.append(Clock())
        layer(*operands, clocks[-1])
    passes = [clock.microseconds() for clock in clocks][WARM_UP:]
    return {step: statistics.median(times[step] for times in passes) for step in passes[0]}


def show(times: dict[str, float], flop: float) -> None:
    total = sum(times.values())
    for step, time in times.items():
        print(f"{step:24}{time:10.1f} µs {time / total:6.1%}")
    rate = flop / sum(time for step, time in times.items() if "projection" in step) * 1e-6
    print(f"{'layer':24}{total:10.1f} µs; the projections {rate:.0f} TFLOP/s")


def plot(times: dict[str, float], what: str, path: str, figures: Any) -> None:
    """One bar a step; what is not nvgemm's is grey."""
    made = figures.Figure(figsize=(12, 4.4), layout="constrained")
    axes = made.subplots()
    colours = ["#999999" if "CuPy" in step else "#D55E00" for step in times]
    bars = axes.barh(list(times), list(times.values()), color=colours)
    total = sum(times.values())
    axes.bar_label(bars, [f"{time:.1f} µs, {time / total:.1%}" for time in times.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(f"µs of a pass of {total:.0f} µs")
    gpu = cp.cuda.runtime.getDeviceProperties(cp.cuda.Device().id)["name"].decode()
    made.suptitle("A mixture-of-experts layer by step", x=0.012, ha="left", size=14, weight="bold")
    axes.set_title(f"{gpu} · {date.today()} · {what}", loc="left", size=10, color="#555555")
    made.supxlabel(f"$ python {shlex.join(sys.argv)}", x=0.012, ha="left", size=8, color="#555555", parse_math=False)
    made.savefig(path, dpi=150)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Sizes are DeepSeek-V3's; its weights take 11 GB.")
    for name, size in (("experts", 256), ("tokens", 4096), ("hidden", 7168), ("intermediate", 2048), ("top-k", 8)):
        parser.add_argument(f"--{name}", type=int, default=size, metavar="N", help=f"default {size}")
    parser.add_argument("--plot", metavar="FILE", help="draw the steps' times, for instance to moe_layer.png")
    return parser.parse_args()


def plotting() -> Any:
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError:
        sys.exit("moe_layer.py: matplotlib is not installed, and --plot needs it; pip install matplotlib")


def has_hopper() -> bool:
    try:
        return cp.cuda.Device().compute_capability == "90"
    except cp.cuda.runtime.CUDARuntimeError:  # no driver, or no GPU
        return False


def main() -> None:
    sizes = parse()
    if not has_hopper():
        sys.exit("moe_layer.py: needs a Hopper GPU (compute capability 9.0), and found none")
    figures = plotting() if sizes.plot else None
    top_k = min(sizes.top_k, sizes.experts)
    what = f"{sizes.tokens} tokens, {top_k} of {sizes.experts} experts, {sizes.hidden} × {sizes.intermediate}"
    x, (ids, weights) = normal(sizes.tokens, sizes.hidden), choose(sizes.tokens, sizes.experts, top_k)
    layer = MoeLayer(sizes.experts, sizes.hidden, sizes.intermediate)
    ref = fill(layer, x, ids, weights)

    error = relative_error(layer(x, ids, weights, Clock()), ref)
    print(f"{what}\nerror {error:.2%} of the FP32 layer")
    if not error < 0.08:  # two projections of operands rounded to E4M3 leave about 6.4 % on normal data
        sys.exit("moe_layer.py: the result is wrong, its error is above 8 %")
    times = split(layer, x, ids, weights)
    show(times, 6.0 * sizes.tokens * top_k * sizes.hidden * sizes.intermediate)
    if figures:
        plot(times, what, sizes.plot, figures)
        print(f"drawn to {sizes.plot}")


if __name__ == "__main__":
    main()
