"""In which order shapes are shown, and where."""

from __future__ import annotations

from collections.abc import Sequence

from nvgemm.bench.plot_data import Shape
from nvgemm.choice.problem import ceil_div


def by_weights(shapes: Sequence[Shape]) -> dict[tuple[int, int], list[Shape]]:
    """Shapes of each N, K in the order of the file, M ascending."""
    groups: dict[tuple[int, int], list[Shape]] = {}
    for shape in shapes:
        groups.setdefault((shape.n, shape.k), []).append(shape)
    return {weights: sorted(group, key=lambda shape: shape.m) for weights, group in groups.items()}


def in_lines(groups: Sequence[Sequence[Shape]], width: int) -> list[list[Sequence[Shape]]]:
    """Groups in lines of about equally many items, as few lines as keep these near `width`; no group is divided."""
    total = sum(map(len, groups))
    lines: list[list[Sequence[Shape]]] = [[] for _ in range(ceil_div(total, width))]
    before = 0
    for group in groups:
        middle = before + len(group) / 2
        lines[int(middle * len(lines) / total)].append(group)
        before += len(group)
    return [line for line in lines if line]


def spaced(sizes: Sequence[int], factor: float) -> list[int]:
    """Those of ascending `sizes` that are at least `factor` times the one before: ticks that do not touch."""
    kept: list[int] = []
    for size in sizes:
        if not kept or size >= factor * kept[-1]:
            kept.append(size)
    return kept
