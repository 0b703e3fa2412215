"""Blocks that measured faster than the model's choice, on the 132 SMs of an H100 SXM (docs/performance.md)."""

from __future__ import annotations

from typing import NamedTuple

NUM_SMS = 132
ROWS = 64  # M is rounded up to this: the same tiles, so the same best blocks


class Blocks(NamedTuple):
    """The part of a `GemmConfig` that is searched. `k_unroll` is given where more than is usual pays."""

    block_m: int
    block_n: int
    num_consumers: int
    k_split: int
    cluster_m: int
    cluster_n: int
    k_unroll: int | None = None


TUNED: dict[tuple[int, int, int], Blocks] = {  # M, N, K
    (64, 24576, 1536): Blocks(64, 96, 2, 2, 1, 1),
    (64, 32768, 512): Blocks(64, 128, 1, 1, 1, 1),
    (128, 4096, 7168): Blocks(128, 32, 2, 1, 1, 1),
    (128, 24576, 1536): Blocks(128, 64, 2, 1, 1, 1),
    (256, 7168, 16384): Blocks(128, 112, 2, 1, 2, 1, k_unroll=4),
    (256, 32768, 512): Blocks(128, 128, 2, 1, 1, 1),
    (512, 576, 7168): Blocks(64, 64, 4, 4, 1, 1),
    (512, 24576, 1536): Blocks(128, 192, 2, 1, 1, 1),
    (512, 32768, 512): Blocks(128, 128, 2, 1, 1, 1),
    (1024, 2112, 7168): Blocks(256, 64, 2, 1, 1, 1),
    (1024, 24576, 1536): Blocks(128, 192, 2, 1, 2, 1),
    (1024, 32768, 512): Blocks(128, 128, 2, 1, 1, 1),
    (2048, 2112, 7168): Blocks(128, 144, 2, 1, 1, 1),
    (2048, 7168, 2048): Blocks(128, 128, 2, 1, 2, 1),
    (2048, 7168, 16384): Blocks(256, 112, 2, 1, 1, 2),
    (2048, 32768, 512): Blocks(128, 192, 2, 1, 1, 1),
    (4096, 32768, 512): Blocks(128, 192, 2, 1, 1, 2),
    (8192, 576, 7168): Blocks(128, 144, 2, 1, 1, 1),
    (8192, 32768, 512): Blocks(128, 192, 2, 1, 1, 2),
}


def lookup(m: int, n: int, k: int, num_sms: int) -> Blocks | None:
    """The measured blocks for a product, or None."""
    return TUNED.get((-(-m // ROWS) * ROWS, n, k)) if num_sms == NUM_SMS else None
