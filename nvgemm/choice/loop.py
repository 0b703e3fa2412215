"""How a consumer goes through k-blocks and tiles: the length of a round, and what it has under way."""

from __future__ import annotations

from nvgemm.choice.config import BLOCK_K
from nvgemm.choice.cost import Model
from nvgemm.choice.legal import slices, two_fit
from nvgemm.choice.problem import Grouping, Problem, ceil_div
from nvgemm.choice.tables import Blocks

AHEAD_TILES = 3  # of each SM, from which on the next one is begun early


def two_pay(problem: Problem, blocks: Blocks) -> bool:
    """Whether two multiplications under way are faster, and by more than the compiler takes longer for them."""
    fits = 32 <= blocks.block_n <= 64 and two_fit(*blocks[:4])
    return fits and problem.k > BLOCK_K and problem.grouping is Grouping.DENSE


def ahead_pays(problem: Problem, device: Model, blocks: Blocks) -> bool:
    """Whether it is faster to begin a tile before the one before it is stored (docs/performance.md)."""
    if blocks.num_consumers != 2 or blocks.k_split != 1 or blocks.cluster_k != 1 or problem.k < 1024:
        return False
    if problem.tiles(blocks.block_m, blocks.block_n) < AHEAD_TILES * device.num_sms:
        return False
    if problem.grouping not in (Grouping.DENSE, Grouping.BATCHED):
        return True
    if problem.k <= 4096:
        return max(blocks.block_m, blocks.block_n) == 256
    return blocks.block_n == 256 and blocks.cluster_m == 2


def unroll(problem: Problem, blocks: Blocks, in_flight: int) -> int:
    """K-blocks in one round of the loop: as many as the compiler does not take too long for."""
    width = columns(blocks)
    if in_flight == 1:
        return 4 if width <= 64 else 2 if width <= 128 else 1
    if blocks.num_consumers == 1 or width > 64:
        return 4
    k_blocks = ceil_div(problem.k, BLOCK_K) // blocks.cluster_k
    return min((8, 4), key=lambda count: k_blocks // count + k_blocks % count)  # times that nothing is under way


def columns(blocks: Blocks) -> int:
    """Of sums that one consumer has, for each of 64 rows."""
    return slices(blocks) * blocks.block_n
