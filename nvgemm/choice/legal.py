"""Which blocks a kernel is built for, and which of them suit a problem."""

from __future__ import annotations

from nvgemm.choice.config import BLOCK_K, num_sfb
from nvgemm.choice.cost import Model
from nvgemm.choice.problem import Grouping, Problem, ceil_div
from nvgemm.choice.tables import Blocks

CONSUMERS = ((64, 1, 1), (64, 2, 2), (64, 4, 4), (128, 2, 1), (256, 2, 1))  # block_m, num_consumers, k_split
CLUSTERS = ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2), (1, 1, 4))  # along M, along N, and that divide K
MAX_STRIPS = 4  # of D for each warp
RASTERS = (1, 2, 4, 8, 16, 32)  # tiles down before one to the right
ACCUMULATOR_REGISTERS = {1: 216, 2: 200, 4: 68}  # by consumers, with the scales of B; their threads have some more


def is_legal(blocks: Blocks) -> bool:
    """Whether a kernel is built for these blocks, given a problem that they suit."""
    return (
        (blocks.block_m, blocks.num_consumers, blocks.k_split) in CONSUMERS
        and (blocks.cluster_m, blocks.cluster_n, blocks.cluster_k) in CLUSTERS
        and blocks.k_unroll in (None, 1, 2, 4, 8)
        and blocks.in_flight in (None, 1, 2)
        and blocks.raster_m in (None, *RASTERS)
        and blocks.num_d_strips in (None, *range(1, MAX_STRIPS + 1))
        and blocks.block_n in range(8, 257, 8)
        and registers_allow(*blocks[:4])
        and (blocks.in_flight != 2 or two_fit(*blocks[:4]))
    )


def suits(problem: Problem, device: Model, blocks: Blocks) -> bool:
    """Whether `problem` can be computed with these blocks."""
    block_m, block_n, _, k_split, cluster_m, cluster_n, _, cluster_k, *_ = blocks
    if cluster_m * cluster_n * cluster_k > device.num_sms:
        return False
    if problem.grouping is Grouping.CONTIGUOUS and block_m > max(problem.alignment, 64):
        return False
    if problem.grouping.on_device and k_split > 2:
        return False  # three sums and more would be added in another order in each run
    has_one_slice = block_n <= 192 and slices(blocks) == 1
    if cluster_k > 1 and not (has_one_slice and _divides_k(problem, cluster_k)):
        return False  # a consumer sends the sums of one slice
    if cluster_m == 2 and (block_n % 16 or problem.group_rows <= block_m):
        return False
    if cluster_n == 2 and problem.n <= block_n:
        return False
    # 256×128 reads B half as often
    return block_n != 256 or cluster_m * cluster_n > 1 or not problem.grouping.own_rows


def registers_allow(block_m: int, block_n: int, num_consumers: int, k_split: int) -> bool:
    """Whether the consumers have registers for a tile's sums, and the partial ones of a multiplication."""
    if block_n == 256:  # two multiplications, whose partial sums take their turns
        return (block_m, num_consumers) == (128, 2)
    accumulators = (block_m * k_split // (64 * num_consumers) + 1) * block_n // 2
    return accumulators + num_sfb(block_n) <= ACCUMULATOR_REGISTERS[num_consumers]


def two_fit(block_m: int, block_n: int, num_consumers: int, k_split: int) -> bool:
    """Whether they have registers for two multiplications under way."""
    if k_split > 1 or block_n > 192:
        return False
    accumulators = (block_m // (64 * num_consumers) + 2) * block_n // 2
    return accumulators + 2 * num_sfb(block_n) <= ACCUMULATOR_REGISTERS[num_consumers]


def slices(blocks: Blocks) -> int:
    """Slices of 64 rows that one consumer multiplies."""
    return blocks.block_m * blocks.k_split // (64 * blocks.num_consumers)


def _divides_k(problem: Problem, cluster_k: int) -> bool:
    """Whether the CTAs of a cluster can divide the k-blocks of a tile evenly."""
    k_blocks = ceil_div(problem.k, BLOCK_K)
    return problem.grouping is Grouping.DENSE and k_blocks % cluster_k == 0 and k_blocks > cluster_k
