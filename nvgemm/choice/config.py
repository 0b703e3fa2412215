"""One configuration of the main kernel: what `config.cuh` says, in Python's spelling."""

from __future__ import annotations

import math
from typing import NamedTuple

from nvgemm.choice.problem import GRANULARITY, Grouping, Overlap, align, ceil_div

BLOCK_K = GRANULARITY  # one scale of A and one of B for each k-block
MAX_SHARED_BYTES = 232_448  # of one CTA on sm_90
_STRIP_BYTES = 16 * 128


class GemmConfig(NamedTuple):
    """The constants of `kernels_cu/fp8_gemm.cu`; each field is the constexpr of the same name in capitals.

    Blocks are in elements; a cluster is 2 CTAs along M (they share B, where it is of one group), 2 along N (they share
    A), some that divide the k-blocks of one tile, or a single CTA.
    """

    shape_n: int
    shape_k: int
    block_m: int
    block_n: int
    num_stages: int
    num_consumers: int  # warpgroups that multiply
    k_split: int  # 1: the consumers divide the rows of a tile; num_consumers: they divide the k-blocks of 64 rows
    num_d_strips: int  # strips of D, 16 rows × 64 columns, that each consumer warp can have under way
    cluster_m: int
    cluster_n: int
    raster_m: int  # tiles that the raster walks down before it steps to the right
    k_unroll: int
    grouping: Grouping = Grouping.DENSE
    num_groups: int = 1
    alignment: int = 1  # of the rows at which groups begin, where the grouping has one
    cluster_k: int = 1  # CTAs that divide the k-blocks of a tile
    in_flight: int = 1  # multiplications that a consumer has under way: the other one while it promotes, or none
    multiplies_ahead: bool = False  # a consumer starts its next tile's first multiplication before it stores a tile
    begins_inside: bool = False  # of D: tiles that would reach beyond its last row begin earlier
    reads_b_once: bool = False  # no two tiles want the same rows of B, which the L2 need not keep
    overlap: Overlap = Overlap.ALONE

    @property
    def shared_bytes(self) -> int:
        """sizeof(SharedStorage); the kernel asserts that it agrees."""
        blocks = self.block_m, self.block_n, self.num_consumers, self.k_split, self.num_d_strips
        fixed, stage = storage_bytes(*blocks, self.grouping, self.num_groups, self.cluster_k)
        return align(fixed + self.num_stages * stage, 1024)

    @property
    def wgmma_n(self) -> int:
        """Columns of one multiplication: accumulators of more than 192 would not fit beside their sums."""
        return self.block_n if self.block_n <= 192 else self.block_n // 2

    @property
    def box_m(self) -> int:
        """Rows of A in one copy: half a tile's where groups may end in it, so that fewer are copied for nothing.

        Not in tiles of 256 rows, where more copies cost short kernels more than they spare (docs/performance.md), nor
        in clusters along N, whose CTAs copy half a tile's each for both, whether they have columns themselves or not.
        """
        if self.grouping.on_device and self.block_m < 256 and self.cluster_n == 1:
            return self.block_m // 2
        return self.block_m // self.cluster_n

    @property
    def step_m(self) -> int:
        """Rows from one tile to the next: of one block of `alignment` rows, where groups are made of these."""
        return min(self.block_m, self.alignment) if self.grouping is Grouping.CONTIGUOUS else self.block_m

    @property
    def num_threads(self) -> int:
        return 128 * (self.num_consumers + 1)

    @property
    def cluster_size(self) -> int:
        return self.cluster_m * self.cluster_n * self.cluster_k

    def num_tiles(self, m: int) -> int:
        """Tiles of `m` rows, of one group or of blocks of all groups, the idle halves of odd clusters counted."""
        down = ceil_div(m, self.step_m * self.cluster_m) * self.cluster_m
        return down * ceil_div(self.shape_n, self.block_n * self.cluster_n) * self.cluster_n

    def grid(self, m: int, num_sms: int) -> int:
        """CTAs to launch on `num_sms` SMs: whole clusters, and no more than tiles, where their number is known here."""
        most = num_sms // self.cluster_size * self.cluster_size
        if self.grouping.on_device:
            return most
        tiles = self.num_tiles(m) * (self.num_groups if self.grouping is Grouping.BATCHED else 1)
        return min(tiles * self.cluster_k, most)

    def constants(self) -> dict[str, int]:
        """What `config.cuh` defines."""
        derived = ("wgmma_n", "box_m", "shared_bytes")
        values = self._asdict() | {name: getattr(self, name) for name in derived}
        return {name.upper(): value if isinstance(value, bool) else int(value) for name, value in values.items()}


def num_sfb(block_n: int) -> int:
    """Scales of B that a tile's columns have: tiles begin at multiples of gcd(block_n, 128) in a 128-block of N."""
    return block_n // math.gcd(block_n, GRANULARITY)


def storage_bytes(
    block_m: int,
    block_n: int,
    num_consumers: int,
    k_split: int,
    num_d_strips: int,
    grouping: Grouping = Grouping.DENSE,
    num_groups: int = 1,
    cluster_k: int = 1,
) -> tuple[int, int]:
    """Bytes of SharedStorage that no stage adds (strips of D, sums of a K split, segments), and that each adds."""
    strips = num_consumers * 4 * num_d_strips * _STRIP_BYTES
    sum_warps = num_consumers * 4 // k_split
    cluster_sums = (cluster_k - 1) * ceil_div(sum_warps, cluster_k) * 16 * block_n
    sums = max((k_split - 1) * 64 * block_n + cluster_sums, 32) * 4 + 16 * (sum_warps if cluster_k > 1 else 1)
    segments = 16 * (num_groups + 1) + 208 if grouping.on_device else 32
    operands, scales, barriers = (block_m + block_n) * BLOCK_K, block_m * 4 + align(num_sfb(block_n) * 4, 16), 16
    return strips + sums + segments, operands + scales + barriers
