"""The one list of shapes that is measured."""

from __future__ import annotations

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

DENSE = [(m, n, k) for n, k in WEIGHTS for m in TOKENS] + [(8192, 8192, 8192)]
"""M, N, K of the dense suite."""

SUITES = {"dense": DENSE}

RANGES = {"M ≤ 128": (0, 128), "128 < M ≤ 1024": (129, 1024), "M > 1024": (1025, 1 << 31)}
"""What a suite is summed up by: title → smallest and largest M."""


def shape_name(m: int, n: int, k: int) -> str:
    """Such as ``64x4096x7168``."""
    return f"{m}x{n}x{k}"


MODES = ("cold", "sustained")
"""L2 flushed before each launch; or seconds of load."""
