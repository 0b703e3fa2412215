"""The one list of shapes that is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nvgemm.bench.shapes import DenseShape, GroupedShape, Shape

WEIGHTS = (  # N, K of DeepSeek-V3's projections
    (576, 7168),
    (2112, 7168),
    (4096, 7168),
    (7168, 2048),
    (7168, 16384),
    (24576, 1536),
    (32768, 512),
)
TOKENS = (1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192)

DENSE = [*(DenseShape(m, n, k) for n, k in WEIGHTS for m in TOKENS), DenseShape(8192, 8192, 8192)]
"""M, N, K of the dense suite."""

_OTHER_WEIGHTS = (  # N, K: projections of Llama 3 8B and 70B, and of Qwen 2.5 32B and 7B
    (6144, 4096),
    (28672, 4096),
    (4096, 14336),
    (10240, 8192),
    (8192, 28672),
    (7168, 5120),
    (4608, 3584),
    (3584, 18944),
)
_OTHERS = [DenseShape(m, n, k) for n, k in _OTHER_WEIGHTS for m in (3, 47, 200, 777, 3001)]

_CONTIGUOUS = """
g4:8192x4096x7168 g4:8192x7168x2048 g8:4096x4096x7168 g8:4096x7168x2048
g4:8192x6144x7168:jit g4:8192x7168x3072:jit g4:8192x4096x4096:jit g4:8192x4096x2048:jit
g8:4096x6144x7168:jit g8:4096x7168x3072:jit g8:4096x4096x4096:jit g8:4096x4096x2048:jit
"""
_MASKED = """
g1:1024x4096x7168:max1024 g1:1024x7168x2048:max1024 g2:512x4096x7168:max512 g2:512x7168x2048:max512
g4:256x4096x7168:max256 g4:256x7168x2048:max256
g6:20x6144x7168:max4096:jit g6:20x7168x3072:max4096:jit g6:20x4096x4096:max4096:jit g6:20x4096x2048:max4096:jit
g6:1024x6144x7168:max4096:jit g6:1024x7168x3072:max4096:jit
g6:1024x4096x4096:max4096:jit g6:1024x4096x2048:max4096:jit
g32:20x6144x7168:max4096:jit g32:20x7168x3072:max4096:jit
g32:20x4096x4096:max4096:jit g32:20x4096x2048:max4096:jit
g32:192x6144x7168:max4096:jit g32:192x7168x3072:max4096:jit
g32:192x4096x4096:max4096:jit g32:192x4096x2048:max4096:jit
"""
_OFFSETS = "g64:257-320x4096x7168 g256:100x4096x7168:jit g256:100x4096x7168:ragged"


@dataclass(frozen=True, slots=True)
class Suite:
    """Shapes, and what they are summed up by.

    Attributes
    ----------
    ranges : mapping
        Title → smallest and largest number of rows: M, or the stated rows of a group.
    """

    shapes: Sequence[Shape]
    ranges: Mapping[str, tuple[int, int]]


_MOST = 1 << 31
_FEW_ROWS = {"rows ≤ 20": (0, 20), "20 < rows < 192": (21, 191), "rows ≥ 192": (192, _MOST)}


def _grouped(names: str, ranges: Mapping[str, tuple[int, int]]) -> Suite:
    return Suite([GroupedShape.parse(name) for name in names.split()], ranges)


_BY_M = {"M ≤ 128": (0, 128), "128 < M ≤ 1024": (129, 1024), "M > 1024": (1025, _MOST)}

SUITES = {
    "dense": Suite(DENSE, _BY_M),
    "others": Suite(_OTHERS, _BY_M),  # dense, and in no table of measured blocks
    "contiguous": _grouped(_CONTIGUOUS, {"contiguous": (0, _MOST)}),
    "masked": _grouped(_MASKED, _FEW_ROWS),
    "offsets": _grouped(_OFFSETS, {"offsets": (0, _MOST)}),
    "chain": _grouped("g256:100x4096x7168:jit", {"chain": (0, _MOST)}),
}

DENSE_SUITES = ("dense", "others")
"""Suites of single products."""

TUNED_SUITES = ("dense", "contiguous", "masked", "offsets")
"""Suites whose products a table of measured blocks can have."""

MODES = ("cold", "sustained")
"""L2 flushed before each launch; or seconds of load."""


def parse(suite: str, words: Sequence[str]) -> Shape:
    """The shape that a command line means.

    Raises
    ------
    ValueError
        It is none of this suite's kind.
    """
    if suite in DENSE_SUITES:
        return DenseShape.parse(words, f"shape: the suite {suite} takes M N K")
    shape = GroupedShape.parse(" ".join(words))
    if (shape.max_m is not None) != (suite == "masked"):
        must = "must state the rows of a group's place, as in :max4096" if suite == "masked" else "has no :max"
        raise ValueError(f"shape: one of the suite {suite} {must}, got {shape.name}")
    return shape
