"""Roofline, sweep over M, and error against K."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.plot_data import BOOST_MHZ, Results, Shape
from nvgemm.bench.plot_groups import by_weights, spaced
from nvgemm.bench.plot_style import GREY, LOOKS, figure, legend, look, source, subtitle
from nvgemm.bench.promotion import ErrorAtK
from nvgemm.explain import TENSOR_FLOP_PER_CLOCK

COLUMNS = 4  # panels beside each other in the sweep


def roofline(results: Results) -> Any:
    """TFLOP/s over FLOP a byte for nvgemm and for the fastest block-scaled peer of each shape, under both roofs."""
    made = figure(6.6, "Roofline: nvgemm and the fastest block-scaled peer", subtitle(results), source(results))
    axes = made.subplots()
    axes.set(xscale="log", yscale="log", xlabel="FLOP a byte of least memory traffic", ylabel="TFLOP/s")
    ours = [shape for shape in results.shapes if OURS in shape.times]
    x, y = [shape.intensity for shape in ours], [shape.tflops(OURS) for shape in ours]
    label, colour, marker = look(OURS)
    axes.plot(x, y, marker, color=colour, ms=7, mec="white", mew=0.7, label=label, zorder=5)
    for peer in results.contenders:
        _envelope(axes, peer, [shape for shape in results.shapes if shape.peer == peer])
    _roofs(axes, results)
    axes.legend(loc="lower right")
    return made


def _envelope(axes: Any, peer: str, shapes: Sequence[Shape]) -> None:
    """Hollow points where `peer` is the fastest, each joined to nvgemm's of the same shape."""
    if not shapes:
        return
    label, colour, marker = look(peer)
    x, y = [shape.intensity for shape in shapes], [shape.tflops(peer) for shape in shapes]
    axes.plot(x, y, marker, color=colour, mfc="none", ms=7, mew=1.2, label=f"fastest peer: {label}", zorder=4)
    for shape in shapes:
        if OURS in shape.times:
            axes.plot([shape.intensity] * 2, [shape.tflops(peer), shape.tflops(OURS)], color=colour, lw=0.8, zorder=3)


def _roofs(axes: Any, results: Results) -> None:
    tensor, slope = results.tensor_roof * 1e-12, results.memory_roof * 1e-12
    ridge = tensor / slope
    intensities = [ridge, *(shape.intensity for shape in results.shapes)]
    low, high = min(intensities) / 1.4, max(intensities) * 1.4
    axes.plot([low, ridge, high], [slope * low, tensor, tensor], color="black", lw=1.6, zorder=1)
    clock = f"{results.median_mhz:.0f} MHz, the median measured" if results.median_mhz else f"{BOOST_MHZ:.0f} MHz boost"
    cores = f"{TENSOR_FLOP_PER_CLOCK} FLOP a clock and SM × {results.device['num_sms']} SMs × {clock}"
    placed = dict(size=9, textcoords="offset points", ha="right")
    axes.annotate(f"tensor cores: {tensor:.0f} TFLOP/s = {cores}", (high, tensor), (0, 5), **placed)
    middle = math.sqrt(low * ridge)
    axes.annotate(f"memory: {slope:.2f} TB/s", (middle, slope * middle), (-8, 4), **placed)
    axes.set(xlim=(low, high), ylim=(None, tensor * 1.7))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")


def sweep(results: Results) -> Any:
    """TFLOP/s against M, a panel for each N×K, a line for each contender."""
    groups = by_weights(results.shapes)
    lines = math.ceil(len(groups) / COLUMNS)
    title, height = f"TFLOP/s against M, {results.mode}", 2.1 + 2.5 * lines
    made = figure(height, title, subtitle(results), source(results), legend_lines=2)
    panels = made.subplots(lines, min(COLUMNS, len(groups)), sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    for axes, ((n, k), shapes) in zip(panels.flat, groups.items(), strict=False):
        for name in results.contenders:
            if any(name in shape.times for shape in shapes):
                _line(axes, name, shapes, results.is_same_job(name))
        axes.set_title(f"N×K = {n}×{k}")
        axes.tick_params(labelbottom=True, labelsize=9)
        axes.set_xlabel("M", labelpad=1)
    for axes in panels[:, 0]:
        axes.set_ylabel("TFLOP/s")
    _doublings(panels.flat[0], spaced(sorted({shape.m for shape in results.shapes}), 4))
    panels.flat[0].set_ylim(bottom=0)
    legend(made, panels.flat, columns=4)
    return made


def _line(axes: Any, contender: str, shapes: Sequence[Shape], same_job: bool) -> None:
    """Broken where the contender lacks a shape."""
    label, colour, marker = look(contender)
    weight = dict(lw=2.6, ms=6, zorder=6) if contender == OURS else dict(lw=1.2, ms=4, zorder=3)
    x = [shape.m for shape in shapes]
    y = [shape.tflops(contender) if contender in shape.times else math.nan for shape in shapes]
    name = label if same_job else f"{label} (another job)"
    axes.plot(x, y, "-" if same_job else "--", color=colour, marker=marker, label=name, **weight)


def error_plot(errors: Sequence[ErrorAtK]) -> Any:
    """Relative error of a row against K, with promotion and without: median as a line, up to the worst as a band."""
    title = "Error of an FP8 product against K, with and without promotion to FP32"
    how = "normal random operands in E4M3; the tensor core's sums emulated bit for bit, before they are rounded to BF16"
    made = figure(5.6, title, how, "$ python tools/plot.py --error (nvgemm.bench.promotion.error_against_k)")
    axes = made.subplots()
    ks = [error.k for error in errors]
    _band(
        axes, ks, [error.unpromoted for error in errors], "deepgemm", "without promotion: all of K in the tensor core"
    )
    _band(axes, ks, [error.promoted for error in errors], OURS, "with promotion to FP32 after each 128 of K")
    rounding = [error.bf16[0] for error in errors]
    axes.plot(ks, rounding, "--", color=GREY, lw=1.4, label="for comparison: rounding the exact result to BF16")
    measure = "relative error ‖d − ref‖ / ‖ref‖ of a row\n(line: median row, band: up to the worst)"
    axes.set(yscale="log", xlabel="K", ylabel=measure)
    ticker = importlib.import_module("matplotlib.ticker")
    axes.yaxis.set(major_locator=ticker.LogLocator(subs=(1, 2, 3, 5)), major_formatter=ticker.PercentFormatter(1, 2))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    _doublings(axes, ks)
    axes.legend(loc="upper left")
    return made


def _band(axes: Any, ks: Sequence[int], errors: Sequence[tuple[float, float]], like: str, label: str) -> None:
    """Drawn like the contender `like`."""
    _, colour, marker = LOOKS[like]
    medians, worst = zip(*errors, strict=True)
    axes.plot(ks, medians, color=colour, marker=marker, lw=2.4, label=label)
    axes.fill_between(ks, medians, worst, color=colour, alpha=0.2, lw=0)


def _doublings(axes: Any, sizes: Sequence[int]) -> None:
    """A logarithmic x axis with ticks at `sizes`."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.tick_params(axis="x", which="minor", bottom=False)
