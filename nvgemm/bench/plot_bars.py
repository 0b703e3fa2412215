"""Speed-up over the envelope, and energy: bars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.plot_data import Results, Shape
from nvgemm.bench.plot_groups import by_weights, in_lines
from nvgemm.bench.plot_style import LOOKS, figure, legend, look, source, subtitle, verdict
from nvgemm.bench.results import LOST

BARS = 30  # in a line: with many more, their figures run into each other
GROUPED_BARS = 15  # as groups and their rows take the place of two Ms
PANELS = 2  # beside each other in the plot of energies
CUT = 2.2  # times nvgemm's energy: longer bars are cut, so that small differences still show
SHARE = 0.86  # of the way from one M to the next is taken up by bars
LOST_LOOK = {"color": "#4D4D4D", "hatch": "////", "ec": "white"}


def speedup(results: Results) -> Any:
    """Speed-up over the fastest block-scaled peer of each shape, grouped by N×K, M ascending."""
    compared = [shape for shape in results.shapes if shape.ratio is not None]
    width = GROUPED_BARS if any(shape.groups for shape in compared) else BARS
    lines = in_lines(list(by_weights(compared).values()), width)
    title, height = "Speed-up over the fastest block-scaled peer", 2.1 + 2.2 * len(lines)
    heading = f"{subtitle(results)}\ngeometric mean: {' · '.join(map(verdict, results.summary))}"
    made = figure(height, title, heading, source(results), legend_lines=2)
    panels = made.subplots(len(lines), 1, sharey=True, squeeze=False)
    places = max(sum(map(len, groups)) + len(groups) - 1 for groups in lines)
    for axes, groups in zip(panels.flat, lines, strict=True):
        _ratios(axes, groups)
        axes.set_xlim(-0.7, places - 0.3)
    ratios = [1.0, *(shape.ratio for shape in compared if shape.ratio is not None)]
    room = 0.12 * (max(ratios) - min(ratios)) + 0.01
    panels.flat[0].set_ylim(min(ratios) - 2 * room, max(ratios) + room)
    legend(made, panels.flat, columns=3)
    return made


def _ratios(axes: Any, groups: Sequence[Sequence[Shape]]) -> None:
    """One line of bars, with an empty place between the groups."""
    ticks: list[tuple[int, str]] = []
    left = 0
    for group in groups:
        for x, shape in enumerate(group, left):
            _ratio(axes, x, shape)
            ticks.append((x, f"M = {shape.m}" if x == left and not shape.groups else shape.label))
        title, middle = f"N×K = {group[0].n}×{group[0].k}", left + (len(group) - 1) / 2
        axes.annotate(title, (middle, -0.14), xycoords=axes.get_xaxis_transform(), ha="center", va="top")
        left += len(group) + 1
    axes.axhline(1, color="black", lw=1)
    axes.set_xticks(*zip(*ticks, strict=True), size=8)
    axes.tick_params(axis="x", length=0, labelbottom=True)
    axes.grid(False, axis="x")
    axes.set_ylabel("times as fast")


def _ratio(axes: Any, x: int, shape: Shape) -> None:
    """A bar from 1 to the ratio, its figure at the end, and the peer's sign at the bottom."""
    if shape.ratio is None or shape.peer is None:
        return
    label, colour, _ = look(OURS)
    lost, above = shape.lost, shape.ratio >= 1
    drawn = {"label": f"{label}: below {LOST}", **LOST_LOOK} if lost else {"label": label, "color": colour}
    axes.bar(x, shape.ratio - 1, 0.8, bottom=1, **drawn)
    figures, weight = (f"{shape.ratio:.3f}", "bold") if lost else (f"{shape.ratio:.2f}", "normal")
    end = dict(ha="center", va="bottom" if above else "top", textcoords="offset points", size=8, weight=weight)
    axes.annotate(figures, (x, shape.ratio), (0, 2 if above else -2), **end)
    peer, colour, marker = look(shape.peer)
    sign = dict(color=colour, ms=5, ls="", label=f"fastest peer: {peer}")
    axes.plot(x, 0.05, marker, transform=axes.get_xaxis_transform(), **sign)


def energy(results: Results) -> Any:
    """Energy a GEMM of each contender as a multiple of nvgemm's, which stands below in mJ and in pJ a FLOP."""
    measured = [shape for shape in results.shapes if OURS in shape.joules]
    groups = by_weights(measured)
    lines = math.ceil(len(groups) / PANELS)
    title, height = f"Energy a GEMM, as a multiple of {LOOKS[OURS].label}'s", 2.1 + 2.1 * lines
    notes = f"under each group: M, and nvgemm's energy a GEMM (mJ) and a FLOP (pJ); bars are cut at {CUT}×"
    heading = f"{subtitle(results)}\n{notes}"
    made = figure(height, title, heading, source(results), legend_lines=2)
    panels = made.subplots(lines, min(PANELS, len(groups)), sharey=True, squeeze=False)
    width = max(map(len, groups.values()))
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    for axes, ((n, k), shapes) in zip(panels.flat, groups.items(), strict=False):
        _energies(axes, shapes, results)
        axes.set(title=f"N×K = {n}×{k}", xlim=(-0.5, width - 0.5), ylim=(0, CUT + 0.4))
    for axes in panels[:, 0]:
        axes.set_ylabel("× nvgemm's energy")
    legend(made, panels.flat, columns=4)
    return made


def _energies(axes: Any, shapes: Sequence[Shape], results: Results) -> None:
    """One panel: for each M a bar for each contender, at the same place where one is missing."""
    names = [name for name in results.contenders if any(name in shape.joules for shape in results.shapes)]
    width = SHARE / len(names)
    for place, name in enumerate(names):
        label, colour, _ = look(name)
        same_job = results.is_same_job(name)
        bars = {x: shape.joules[name] / shape.joules[OURS] for x, shape in enumerate(shapes) if name in shape.joules}
        x = [x + (place + 0.5) * width - SHARE / 2 for x in bars]
        drawn = {"label": label} if same_job else {"label": f"{label} (another job)", "hatch": "/////", "ec": "white"}
        axes.bar(x, [min(bar, CUT) for bar in bars.values()], width, color=colour, lw=0, **drawn)
        for left, bar in zip(x, bars.values(), strict=True):
            if bar > CUT:
                axes.annotate(f"{bar:.1f}", (left, CUT + 0.05), size=7, rotation=90, ha="center")
    axes.axhline(1, color="black", lw=0.8)
    axes.set_xticks(range(len(shapes)), [_absolute(shape) for shape in shapes], size=8)
    axes.tick_params(axis="x", length=0, labelbottom=True)
    axes.grid(False, axis="x")


def _absolute(shape: Shape) -> str:
    """M or the groups, mJ a GEMM and pJ a FLOP with nvgemm, one under the other."""
    joules = shape.joules[OURS]
    return f"{shape.label}\n{three_figures(joules * 1e3)} mJ\n{three_figures(joules / shape.flop * 1e12)} pJ"


def three_figures(value: float) -> str:
    """`value` to three figures, or to the unit where it has more."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
