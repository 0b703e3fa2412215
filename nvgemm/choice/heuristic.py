"""`select_config`: measured blocks, else those that a model of waves, bytes and latency finds fastest. No GPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache, partial

from nvgemm.choice import tables
from nvgemm.choice.config import BLOCK_K, MAX_SHARED_BYTES, GemmConfig, num_sfb, storage_bytes
from nvgemm.choice.cost import H100, Model, predict
from nvgemm.choice.problem import Grouping, Problem, ceil_div

MAX_STAGES = 12
BLOCKS_N = (8, 16, 32, 48, 64, 96, 112, 128, 144, 160, 176, 192)
CONSUMERS = ((64, 1, 1), (64, 2, 2), (64, 4, 4), (128, 2, 1), (256, 2, 1))  # block_m, num_consumers, k_split
MOST_WAVES = 8  # of tiles smaller than this; more were predicted fastest for 7 of 20,000 shapes, by 3 % at most
LEAST_RASTER, MOST_RASTER = 4, 32  # of groups, which may have more rows than expected
SMALL_TILE = 128 * 96
CLUSTERS = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 4))  # along M, along N, and that divide K
CLUSTERED = {2: 1.0, 4: 0.97}  # share of the SMs that run clusters of so many at once: a GPC of 18 has 4 of 4 (H100)
ACCUMULATOR_REGISTERS = {1: 216, 2: 200, 4: 68}  # by consumers, with the scales of B; their threads have some more


@lru_cache(maxsize=65536)
def select_config(problem: Problem, device: Model = H100) -> GemmConfig:
    """The measured configuration for `problem` on `device`, else the one with the least predicted time."""
    measured = measured_config(problem, device)
    return measured or min(candidates(problem, device), key=lambda config: predict(config, problem, device))


def measured_config(problem: Problem, device: Model = H100) -> GemmConfig | None:
    """The configuration that was measured as the fastest for `problem` on such a device, or None."""
    blocks = tables.lookup(problem, device.tables, device.num_sms)
    if blocks is not None and not _is_legal(blocks):
        warnings.warn(f"a table of measured blocks has some that no kernel is built for: {blocks}", stacklevel=2)
        return None
    return blocks and _complete(problem, device, *blocks)


def _is_legal(blocks: tables.Blocks) -> bool:
    block_m, block_n, num_consumers, k_split, cluster_m, cluster_n, k_unroll, cluster_k, in_flight = blocks
    return (
        (block_m, num_consumers, k_split) in CONSUMERS
        and (cluster_m, cluster_n, cluster_k) in CLUSTERS
        and k_unroll in (None, 1, 2, 4, 8)
        and in_flight in (None, 1, 2)
        and block_n in range(8, 257, 8)
        and _registers_allow(block_m, block_n, num_consumers, k_split)
        and (in_flight != 2 or _can_overlap(block_m, block_n, num_consumers, k_split))
    )


def candidates(problem: Problem, device: Model = H100) -> Iterator[GemmConfig]:
    """Every legal configuration that could be the fastest."""
    for block_m, num_consumers, k_split in CONSUMERS:
        if block_m > 64 and problem.group_rows <= block_m // 2:
            continue
        for block_n in BLOCKS_N if problem.grouping is Grouping.DENSE else (*BLOCKS_N, 256):
            if block_n >= problem.n + 8 or not _registers_allow(block_m, block_n, num_consumers, k_split):
                continue
            tiles = problem.groups * ceil_div(problem.group_rows, block_m) * ceil_div(problem.n, block_n)
            if tiles > MOST_WAVES * device.num_sms and block_m * block_n < SMALL_TILE and 2 * block_n <= problem.n:
                continue
            for cluster_m, cluster_n, cluster_k in CLUSTERS:
                if cluster_k > 1 and tiles * cluster_k > CLUSTERED[cluster_k] * device.num_sms:
                    continue
                blocks = block_m, block_n, num_consumers, k_split, cluster_m, cluster_n
                config = _complete(problem, device, *blocks, cluster_k=cluster_k)
                if config is not None:
                    yield config


def _registers_allow(block_m: int, block_n: int, num_consumers: int, k_split: int) -> bool:
    if block_n == 256:  # two multiplications, whose partial sums take their turns
        return (block_m, num_consumers) == (128, 2)
    accumulators = (_slices(block_m, num_consumers, k_split) + 1) * block_n // 2
    return accumulators + num_sfb(block_n) <= ACCUMULATOR_REGISTERS[num_consumers]


def _can_overlap(block_m: int, block_n: int, num_consumers: int, k_split: int) -> bool:
    """Whether a consumer has registers for two multiplications under way."""
    if k_split > 1 or block_n > 192:
        return False
    accumulators = (_slices(block_m, num_consumers, k_split) + 2) * block_n // 2
    return accumulators + 2 * num_sfb(block_n) <= ACCUMULATOR_REGISTERS[num_consumers]


def _slices(block_m: int, num_consumers: int, k_split: int) -> int:
    """Slices of 64 rows that one consumer multiplies."""
    return block_m * k_split // (64 * num_consumers)


def _complete(
    problem: Problem,
    device: Model,
    block_m: int,
    block_n: int,
    num_consumers: int,
    k_split: int,
    cluster_m: int,
    cluster_n: int,
    k_unroll: int | None = None,
    cluster_k: int = 1,
    in_flight: int | None = None,
) -> GemmConfig | None:
    """Strips, stages and raster for these blocks; None where the cluster or shared memory does not allow them."""
    if cluster_m * cluster_n * cluster_k > device.num_sms:
        return None
    if problem.grouping is Grouping.CONTIGUOUS and block_m > max(problem.alignment, 64):
        return None
    if problem.grouping.on_device and k_split > 2:
        return None  # three sums and more would be added in another order in each run
    has_one_slice = block_n <= 192 and _slices(block_m, num_consumers, k_split) == 1
    if cluster_k > 1 and not (has_one_slice and _divides_k(problem, cluster_k)):
        return None  # a consumer sends the sums of one slice
    if cluster_m == 2 and (block_n % 16 or problem.group_rows <= block_m or problem.grouping is Grouping.CONTIGUOUS):
        return None
    if cluster_n == 2 and problem.n <= block_n:
        return None
    if block_n == 256 and cluster_m * cluster_n == 1 and problem.grouping.own_rows:
        return None  # 256×128 reads B half as often
    fit = partial(
        _stages_that_fit, block_m, block_n, num_consumers, k_split, problem.grouping, problem.groups, cluster_k
    )
    strips = 1 if block_m == 256 else min(2, ceil_div(block_n, 64))  # a stage is worth more than a strip
    if block_n == 256 and fit(strips) < fit(1):
        strips = 1
    stages = fit(strips)
    if stages < 2:
        return None
    if in_flight is None:
        pays = _overlap_pays(problem, block_n) and _can_overlap(block_m, block_n, num_consumers, k_split)
        in_flight = 2 if pays else 1
    if k_unroll is None:
        k_blocks = ceil_div(problem.k, BLOCK_K) // cluster_k
        columns = _slices(block_m, num_consumers, k_split) * block_n
        k_unroll = _overlapped(k_blocks, num_consumers) if in_flight == 2 else _unroll(columns)
    return GemmConfig(
        shape_n=problem.n,
        shape_k=problem.k,
        block_m=block_m,
        block_n=block_n,
        num_stages=stages,
        num_consumers=num_consumers,
        k_split=k_split,
        num_d_strips=strips,
        cluster_m=cluster_m,
        cluster_n=cluster_n,
        raster_m=_raster(problem, device, block_m * cluster_m, block_n * cluster_n),
        k_unroll=k_unroll,
        grouping=problem.grouping,
        num_groups=problem.groups,
        alignment=problem.alignment,
        cluster_k=cluster_k,
        in_flight=in_flight,
    )


def _divides_k(problem: Problem, cluster_k: int) -> bool:
    """Whether the CTAs of a cluster can divide the k-blocks of a tile evenly."""
    k_blocks = ceil_div(problem.k, BLOCK_K)
    return problem.grouping is Grouping.DENSE and k_blocks % cluster_k == 0 and k_blocks > cluster_k


def _unroll(columns: int) -> int:
    """K-blocks in one round of the loop, for so many columns of accumulators: more would take too long to compile."""
    return 4 if columns <= 64 else 2 if columns <= 128 else 1


def _overlap_pays(problem: Problem, block_n: int) -> bool:
    """Whether two multiplications under way are faster by more than the compiler takes longer for them."""
    return 32 <= block_n <= 64 and problem.k > BLOCK_K and problem.grouping is Grouping.DENSE


def _overlapped(k_blocks: int, num_consumers: int) -> int:
    """K-blocks multiplied in a row, at whose end nothing is under way; one consumer alone is faster with four."""
    counts = (4,) if num_consumers == 1 else (8, 4)
    return min(counts, key=lambda count: k_blocks // count + k_blocks % count)


@lru_cache(maxsize=1024)
def _stages_that_fit(
    block_m: int,
    block_n: int,
    num_consumers: int,
    k_split: int,
    grouping: Grouping,
    num_groups: int,
    cluster_k: int,
    strips: int,
) -> int:
    fixed, stage = storage_bytes(block_m, block_n, num_consumers, k_split, strips, grouping, num_groups, cluster_k)
    return min(MAX_STAGES, (MAX_SHARED_BYTES - fixed) // stage) // k_split * k_split


@lru_cache(maxsize=4096)
def _raster(problem: Problem, device: Model, height: int, width: int) -> int:
    """Tiles down before one to the right, so that the rows of A and B that a wave reads are fewest. A power of two.

    Of those that are equal, 4: neighbours then want the same rows of B, of which fewer CTAs want each than of A's.
    """
    if problem.grouping is not Grouping.DENSE:
        down = ceil_div(problem.group_rows, height)  # all that want the same rows of B, begun at once
        return min(max(1 << (down - 1).bit_length(), LEAST_RASTER), MOST_RASTER)
    wave = max(device.num_sms * 128 * 128 // (height * width), 1)
    down, right = ceil_div(problem.group_rows, height), ceil_div(problem.n, width)

    def footprint(raster: int) -> tuple[int, int]:
        raster = min(raster, down)
        rows, columns = raster * ceil_div(wave, raster * right), ceil_div(wave, raster)
        return min(rows, down) * height + min(columns, right) * width, -min(raster, 4)

    return min((1, 2, 4, 8, 16, 32), key=footprint)
