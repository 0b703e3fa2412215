"""Blocks that measured faster than the model's choice, on the 132 SMs of an H100 SXM (docs/performance.md)."""

from __future__ import annotations

from typing import NamedTuple

from nvgemm.choice.problem import Grouping, Problem, align

NUM_SMS = 132


class Blocks(NamedTuple):
    """The part of a `GemmConfig` that is searched. `k_unroll` is given where more than is usual pays."""

    block_m: int
    block_n: int
    num_consumers: int
    k_split: int
    cluster_m: int
    cluster_n: int
    k_unroll: int | None = None
    cluster_k: int = 1


TUNED: dict[tuple[int, int, int], Blocks] = {  # M as `_rows` gives it, N, K
    (16, 576, 7168): Blocks(64, 32, 1, 1, 1, 1, cluster_k=4),
    (16, 2112, 7168): Blocks(64, 16, 1, 1, 1, 1),
    (16, 4096, 7168): Blocks(64, 32, 1, 1, 1, 1),
    (16, 7168, 2048): Blocks(64, 64, 1, 1, 1, 1),
    (16, 7168, 16384): Blocks(64, 64, 2, 2, 1, 1),
    (16, 24576, 1536): Blocks(64, 64, 1, 1, 1, 1),
    (16, 32768, 512): Blocks(64, 64, 1, 1, 1, 1),
    (64, 576, 7168): Blocks(64, 32, 1, 1, 1, 1, cluster_k=4),
    (64, 2112, 7168): Blocks(64, 16, 1, 1, 1, 1),
    (64, 7168, 2048): Blocks(64, 64, 1, 1, 1, 1),
    (64, 24576, 1536): Blocks(64, 96, 2, 2, 1, 1),
    (64, 32768, 512): Blocks(64, 128, 1, 1, 1, 1),
    (128, 576, 7168): Blocks(128, 32, 2, 1, 1, 1, cluster_k=4),
    (128, 4096, 7168): Blocks(128, 32, 2, 1, 1, 1),
    (128, 24576, 1536): Blocks(128, 64, 2, 1, 1, 1),
    (128, 32768, 512): Blocks(128, 64, 2, 1, 1, 1),
    (256, 576, 7168): Blocks(128, 64, 2, 1, 1, 1, cluster_k=4),
    (256, 2112, 7168): Blocks(128, 32, 2, 1, 1, 1),
    (256, 4096, 7168): Blocks(128, 64, 2, 1, 2, 1),
    (256, 7168, 2048): Blocks(128, 128, 2, 1, 1, 1),
    (256, 7168, 16384): Blocks(128, 112, 2, 1, 2, 1, k_unroll=4),
    (256, 24576, 1536): Blocks(256, 64, 2, 1, 1, 1),
    (256, 32768, 512): Blocks(256, 64, 2, 1, 1, 1),
    (512, 576, 7168): Blocks(64, 96, 2, 2, 1, 1, cluster_k=2),
    (512, 2112, 7168): Blocks(128, 64, 2, 1, 2, 1),
    (512, 24576, 1536): Blocks(256, 128, 2, 1, 1, 1),
    (512, 32768, 512): Blocks(128, 128, 2, 1, 2, 1),
    (1024, 2112, 7168): Blocks(256, 64, 2, 1, 1, 1),
    (1024, 24576, 1536): Blocks(128, 192, 2, 1, 2, 1),
    (1024, 32768, 512): Blocks(128, 128, 2, 1, 1, 2),
    (2048, 576, 7168): Blocks(64, 144, 2, 2, 1, 2),
    (2048, 2112, 7168): Blocks(256, 64, 2, 1, 1, 1),
    (2048, 4096, 7168): Blocks(256, 128, 2, 1, 1, 1),
    (2048, 7168, 2048): Blocks(128, 128, 2, 1, 2, 1),
    (2048, 7168, 16384): Blocks(256, 112, 2, 1, 1, 2),
    (2048, 24576, 1536): Blocks(128, 192, 2, 1, 1, 2),
    (2048, 32768, 512): Blocks(128, 192, 2, 1, 1, 2),
    (4096, 24576, 1536): Blocks(128, 192, 2, 1, 1, 2),
    (4096, 32768, 512): Blocks(128, 192, 2, 1, 1, 2),
    (8192, 576, 7168): Blocks(128, 144, 2, 1, 1, 1),
    (8192, 7168, 16384): Blocks(256, 128, 2, 1, 1, 1),
    (8192, 24576, 1536): Blocks(128, 192, 2, 1, 2, 1),
    (8192, 32768, 512): Blocks(256, 128, 2, 1, 1, 2),
}


TUNED_GROUPS: dict[tuple[Grouping, int, int, int, int], Blocks] = {  # groups, expected M as `_rows` gives it, N, K
    (Grouping.MASKED, 6, 64, 4096, 2048): Blocks(64, 96, 2, 2, 1, 1),
    (Grouping.MASKED, 6, 64, 4096, 4096): Blocks(64, 96, 1, 1, 1, 1),
    (Grouping.MASKED, 6, 64, 7168, 3072): Blocks(64, 112, 2, 2, 1, 1),
    (Grouping.MASKED, 32, 192, 4096, 2048): Blocks(128, 256, 2, 1, 2, 1),
    (Grouping.MASKED, 6, 1024, 7168, 3072): Blocks(128, 256, 2, 1, 2, 1),
    (Grouping.MASKED, 6, 1024, 4096, 2048): Blocks(128, 192, 2, 1, 1, 1),
    (Grouping.OFFSETS, 256, 128, 4096, 7168): Blocks(128, 256, 2, 1, 1, 1),
}


def lookup(m: int, n: int, k: int) -> Blocks | None:
    """The measured blocks for a product, or None."""
    return TUNED.get((_rows(m), n, k))


def lookup_groups(problem: Problem) -> Blocks | None:
    """The measured blocks for the products of several groups, or None."""
    return TUNED_GROUPS.get((problem.grouping, problem.groups, _rows(problem.group_rows), problem.n, problem.k))


def _rows(m: int) -> int:
    """Largest M with the same tiles as `m`, so with the same best blocks; a few rows are not like many."""
    return 16 if m <= 16 else align(m, 64)
