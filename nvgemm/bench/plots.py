"""Plots of measurements: ``python tools/plot.py RESULTS.json … --out DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nvgemm.bench.contender import OURS
from nvgemm.bench.plot_bars import energy, speedup
from nvgemm.bench.plot_data import Results, read
from nvgemm.bench.plot_lines import error_plot, roofline, sweep
from nvgemm.bench.plot_style import FORMATS, save, style
from nvgemm.bench.promotion import error_against_k


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, print the paths written, and return the exit code: 0 done, 1 an error told in a sentence, 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.results and not options.error:
        parser.error("nothing to draw: give a file of nvgemm bench --json, or --error")
    try:
        with style():
            for name, figure in _figures(read_all(options.results), options.error):
                for path in save(figure, options.out, name, options.format):
                    print(path, flush=True)
    except (OSError, ValueError, ModuleNotFoundError) as error:
        print(f"plot: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="plot", description="Plots of what nvgemm bench --json has measured.")
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS.json", help="files of nvgemm bench --json")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder that the plots are written to")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=FORMATS, help="default: both")
    parser.add_argument("--error", action="store_true", help="also error against K, emulated; needs no file and no GPU")
    return parser


def read_all(paths: Sequence[Path]) -> list[Results]:
    """Results of all files; ValueError where two of them are of one suite and mode, as their plots would be too."""
    origins: dict[str, Path] = {}
    results = [read(path) for path in paths]
    for path, result in zip(paths, results, strict=True):
        if result.name in origins:
            raise ValueError(
                f"{origins[result.name]} and {path} are both {result.name}; draw them to different folders"
            )
        origins[result.name] = path
    return results


def plots_of(results: Results) -> dict[str, Callable[[Results], Any]]:
    """What a file's data allow.

    A sweep needs single products, a speed-up a block-scaled peer, an energy that power was measured.
    """
    single = not any(shape.groups for shape in results.shapes)
    compared = any(shape.ratio is not None for shape in results.shapes)
    measured = any(OURS in shape.joules for shape in results.shapes)
    allowed: dict[str, tuple[Callable[[Results], Any], bool]] = {
        "energy": (energy, results.mode == "sustained" and measured),
        "roofline": (roofline, results.mode == "cold"),
        "sweep": (sweep, single),
        "speedup": (speedup, results.mode == "cold" and compared),
    }
    return {name: draw for name, (draw, is_allowed) in allowed.items() if is_allowed}


def _figures(results: Sequence[Results], error: bool) -> Iterator[tuple[str, Any]]:
    for result in results:
        for name, draw in plots_of(result).items():
            yield f"{result.name}-{name}", draw(result)
    if error:
        yield "error-against-k", error_plot(error_against_k())
