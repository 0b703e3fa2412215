"""`complete`: the rest of a configuration, from its blocks."""

from __future__ import annotations

from functools import lru_cache, partial

from nvgemm.choice.config import MAX_SHARED_BYTES, GemmConfig, storage_bytes
from nvgemm.choice.cost import Model
from nvgemm.choice.legal import MAX_STRIPS, RASTERS, suits, two_fit
from nvgemm.choice.loop import ahead_pays, columns, two_pay, unroll
from nvgemm.choice.problem import Grouping, Problem, ceil_div
from nvgemm.choice.tables import Blocks

MAX_STAGES = 12
LEAST_RASTER, MOST_RASTER = 8, 32  # of groups, which may have more rows than expected


def complete(problem: Problem, device: Model, blocks: Blocks) -> GemmConfig | None:
    """Strips, stages, raster and order for these blocks; None where problem or shared memory do not allow them."""
    if not suits(problem, device, blocks):
        return None
    strips, stages = _strips_and_stages(problem, blocks)
    if stages < 2:
        return None
    block_m, block_n, num_consumers, k_split, cluster_m, cluster_n, k_unroll, cluster_k, in_flight, raster_m, _ = blocks
    if in_flight is None:  # a measured unroll without it was of one
        in_flight = 2 if k_unroll is None and two_pay(problem, blocks) else 1
    ahead = in_flight == 1 and ahead_pays(problem, device, blocks)
    usual = unroll(problem, blocks, in_flight)
    k_unroll = k_unroll or usual
    if ahead:
        k_unroll = min(k_unroll, usual)  # CONTIGUOUS in pairs of 128×256 would spill
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
        raster_m=raster_m or _raster(problem, device, blocks),
        k_unroll=k_unroll,
        grouping=problem.grouping,
        num_groups=problem.groups,
        alignment=problem.alignment,
        cluster_k=cluster_k,
        in_flight=in_flight,
        multiplies_ahead=ahead,
        begins_inside=_begins_inside(problem, blocks),
        # In higher tiles it costs 1 … 2 % (docs/performance.md).
        reads_b_once=problem.grouping is Grouping.MASKED and problem.group_rows <= block_m == 64,
        overlap=problem.overlap,
    )


def blocks_in(config: GemmConfig) -> Blocks:
    """Of a configuration, what the rest follows from."""
    return Blocks(**{name: getattr(config, name) for name in Blocks._fields})


def orders(problem: Problem, device: Model, config: GemmConfig) -> list[GemmConfig]:
    """`config` with its multiplications one after the other, and two under way where registers allow that."""
    blocks = blocks_in(config)
    ahead = ahead_pays(problem, device, blocks)
    one = config._replace(in_flight=1, k_unroll=unroll(problem, blocks, 1), multiplies_ahead=ahead)
    counts = () if not two_fit(*blocks[:4]) else (4, 8) if columns(blocks) <= 64 else (4,)
    return [one, *(config._replace(in_flight=2, k_unroll=count, multiplies_ahead=False) for count in counts)]


def rasters(problem: Problem, config: GemmConfig) -> list[GemmConfig]:
    """`config` first, and with each other raster that gives its tiles another order."""
    down = ceil_div(problem.group_rows, config.block_m * config.cluster_m)
    others = [raster for raster in RASTERS if raster < 2 * down and raster != config.raster_m]
    return [config, *(config._replace(raster_m=raster) for raster in others)]


def refinements(problem: Problem, device: Model, config: GemmConfig) -> list[GemmConfig]:
    """`config` first, and with rounds of its loop and strips of D, or stages in their place, that may be faster."""
    blocks = blocks_in(config)
    usual = unroll(problem, blocks, config.in_flight)
    may_be_longer = config.in_flight == 1 and usual <= 2 and not config.multiplies_ahead
    longer = 2 * usual if may_be_longer else config.k_unroll
    stored = [complete(problem, device, blocks._replace(num_d_strips=strips)) for strips in range(1, MAX_STRIPS + 1)]
    others = [
        other._replace(k_unroll=k_unroll)
        for other in filter(None, stored)
        if other.num_stages >= config.num_stages
        for k_unroll in sorted({config.k_unroll, usual, longer})
    ]
    return list(dict.fromkeys([config, *others]))


def _strips_and_stages(problem: Problem, blocks: Blocks) -> tuple[int, int]:
    """Strips of D for each warp, and as many stages as fit beside them: a stage is worth more than a strip."""
    block_m, block_n, num_consumers, k_split = blocks[:4]
    fit = partial(
        _stages_that_fit, block_m, block_n, num_consumers, k_split, problem.grouping, problem.groups, blocks.cluster_k
    )
    strips = blocks.num_d_strips or (1 if block_m == 256 else min(2, ceil_div(block_n, 64)))
    if block_n == 256 and fit(strips) < fit(1):
        strips = 1
    return strips, fit(strips)


def _begins_inside(problem: Problem, blocks: Blocks) -> bool:
    """Whether the last tiles down would reach beyond D, and may compute some of it twice instead.

    Not where K is split among four: the place of the tile in the ring, or of a row in the tile, would tell the order of
    the sums. That of two makes no difference. Beyond the last column few tiles read at once, which costs nothing.
    """
    reaches_beyond = problem.m > blocks.block_m and problem.m % (blocks.block_m * blocks.cluster_m) != 0
    is_same_anywhere = problem.grouping is Grouping.DENSE and max(blocks.k_split, blocks.cluster_k) <= 2
    return reaches_beyond and is_same_anywhere


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
def _raster(problem: Problem, device: Model, blocks: Blocks) -> int:
    """Tiles down before one to the right, so that those that run at once read the fewest rows of A and B.

    Of those that are equal, 4: neighbours then want the same rows of B, of which fewer CTAs want each than of A's.
    """
    height, width = blocks.block_m * blocks.cluster_m, blocks.block_n * blocks.cluster_n
    wave = device.num_sms // (blocks.cluster_m * blocks.cluster_n)
    down, right = ceil_div(problem.group_rows, height), ceil_div(problem.n, width)
    if problem.grouping is not Grouping.DENSE and down * right < 2 * wave:
        # All that want the same rows of B, begun at once.
        return min(max(1 << (down - 1).bit_length(), LEAST_RASTER), MOST_RASTER)

    def footprint(raster: int) -> tuple[int, int]:
        raster = min(raster, down)
        rows, columns = max(raster, ceil_div(wave, right)), ceil_div(wave, raster)
        return min(rows, down) * height + min(columns, right) * width, -min(raster, 4)

    return min(RASTERS, key=footprint)
