"""Columns of text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under headings, the first column to the left and the others to the right."""
    texts = [tuple(map(str, row)) for row in (headings, *rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    align = [str.ljust] + [str.rjust] * (len(widths) - 1)
    return "\n".join("  ".join(map(lambda a, cell, width: a(cell, width), align, row, widths)) for row in texts)
