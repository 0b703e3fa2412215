"""How every plot looks: a contender's colour, the frame with title and source, files that are the same each time."""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nvgemm.bench.contender import OURS
from nvgemm.bench.plot_data import Results
from nvgemm.bench.results import LOST

WIDTH = 12.0  # inches: 1200 px at 100 dots an inch
TITLE, LINE, SMALL_LINE = 0.5, 0.2, 0.155  # inches: the title; a line of subtitle or legend; a line of the source
COLUMNS = 170  # characters of the source in a line
FORMATS = ("png", "svg")
GREY = "#555555"
RC = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "nvgemm",  # else the names inside an SVG are random
}


class Look(NamedTuple):
    """How a contender is drawn in all plots."""

    label: str
    colour: str
    marker: str


LOOKS = {  # Okabe and Ito's palette, which colour-blind readers can tell apart (https://jfly.uni-koeln.de/color/)
    OURS: Look("nvgemm", "#D55E00", "o"),
    "deepgemm": Look("DeepGEMM", "#0072B2", "s"),
    "cublaslt_block128": Look("cuBLASLt 128×128 scales", "#009E73", "^"),
    "cublaslt_block1": Look("cuBLASLt 1×128 scales", "#56B4E9", "v"),
    "triton": Look("Triton", "#CC79A7", "D"),
    "cublaslt_tensor": Look("cuBLASLt one scale a matrix", "#000000", "P"),
    "cublaslt_row": Look("cuBLASLt one scale a row", "#E69F00", "X"),
    "bf16": Look("BF16", "#999999", "*"),
    "read_floor": Look("reading the weights alone", "#F0E442", "d"),
}


def look(contender: str) -> Look:
    """Raise ValueError for a contender without a colour: a colour made up here would differ between plots."""
    if contender not in LOOKS:
        raise ValueError(f"contender {contender!r} has no colour; give it one in LOOKS of nvgemm/bench/plot_style.py")
    return LOOKS[contender]


def style() -> Any:
    """Context in which plots are drawn and saved, whatever the user's own matplotlib settings are.

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed; the message names the extra.
    """
    try:
        return importlib.import_module("matplotlib.style").context(["default", RC])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "matplotlib":
            raise
        raise ModuleNotFoundError("plots need matplotlib; install the extra nvgemm[bench]", name=error.name) from error


def figure(height: float, title: str, subtitle: str, source: str, *, legend_lines: int = 0) -> Any:
    """An empty figure of `height` inches: title and subtitle above; room for a `legend`, and the source, below."""
    made = importlib.import_module("matplotlib.figure").Figure(figsize=(WIDTH, height), layout="constrained")
    header = TITLE + LINE * len(subtitle.splitlines())
    footer = 0.32 + SMALL_LINE * len(source.splitlines()) + LINE * legend_lines
    made.get_layout_engine().set(rect=(0.005, footer / height, 0.99, 1 - (header + footer) / height))
    plain = dict(x=0.012, parse_math=False)  # a command may hold more than one dollar sign
    made.text(y=1 - 0.1 / height, s=title, va="top", size=14, weight="bold", **plain)
    made.text(y=1 - 0.42 / height, s=subtitle, va="top", size=10, color=GREY, **plain)
    made.text(y=0.08 / height, s=source, va="bottom", size=8, color=GREY, linespacing=1.4, **plain)
    return made


def legend(made: Any, panels: Iterable[Any], columns: int) -> None:
    """One legend for all panels, under them, nvgemm first."""
    handles = {
        label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    labels = sorted(handles, key=lambda label: not label.startswith(LOOKS[OURS].label))
    place = dict(loc="upper center", bbox_to_anchor=(0.5, made.get_layout_engine().get()["rect"][1]))
    made.legend([handles[label] for label in labels], labels, ncols=columns, labelspacing=0.25, **place)


def subtitle(results: Results) -> str:
    """GPU, date, and how the times were taken."""
    cold = f"cold: L2 flushed before each call, median of {results.rounds} rounds"
    how = {"cold": cold, "sustained": "sustained: seconds of calls back to back"}[results.mode]
    broken_off = "" if results.complete else " · broken off: not all shapes"
    return f"{results.device['name']} · {results.date:%Y-%m-%d} · {how}{broken_off}"


def source(results: Results) -> str:
    """The command that measured, and the versions of what was measured."""
    versions = {"driver": results.device["driver"], **results.software}
    lines = (f"$ {results.command}", ", ".join(f"{name} {version}" for name, version in versions.items()))
    return "\n".join(textwrap.fill(line, COLUMNS, break_on_hyphens=False) for line in lines)


def verdict(summary: Mapping[str, Any]) -> str:
    """One range's line of a file's summary, such as ``M ≤ 128: 1.04× (28 shapes, 3 below 0.98)``."""
    lost = f", {len(summary['lost'])} below {LOST}" if summary["lost"] else ""
    return f"{summary['range']}: {summary['geomean']:.2f}× ({summary['shapes']} shapes{lost})"


def save(figure: Any, folder: Path, name: str, formats: Iterable[str]) -> list[Path]:
    """Write `figure` in each format and return the paths. The same data give the same SVG, byte for byte."""
    folder.mkdir(parents=True, exist_ok=True)
    _settle(figure)
    paths = [folder / f"{name}.{suffix}" for suffix in formats]
    for path in paths:
        metadata = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=metadata)
    return paths


def _settle(figure: Any) -> None:
    """Lay the panels out once; the last digits of their places, which the solver leaves to chance, are rounded away."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(side, 5) for side in axes.get_position().bounds])
