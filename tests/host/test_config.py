"""What must hold of every configuration, over a grid of shapes: the kernel and the driver count on it."""

from __future__ import annotations

from itertools import product

import pytest

from nvgemm.choice.config import MAX_SHARED_BYTES, GemmConfig
from nvgemm.choice.cost import Model
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.legal import CLUSTERS
from nvgemm.choice.problem import Grouping, Problem, ceil_div

WIDTHS = [(8, 16), (8, 7168), (16, 144), (24, 112), (120, 128), (136, 16384), (576, 7168), (2056, 1040), (32768, 512)]
SHAPES = [(m, n, k) for m, (n, k) in product((1, 3, 64, 65, 127, 128, 129, 256, 300, 8192), WIDTHS)]
HUGE = [(2**31 - 1, 8, 16), (1, 2**31 - 8, 16), (1, 8, 2**31 - 16), (100_000, 200_000, 65_536)]
SMS = (132, 114, 78, 17, 3, 2)
REGISTER_FILE = 65536  # of an SM, 32-bit
MAX_BOX = 256  # elements of a tensor map's box along each dimension


@pytest.fixture(scope="module", params=[132, 17], ids=lambda sms: f"{sms} SMs")
def legal(request) -> list[tuple[int, GemmConfig]]:
    """Every candidate of every shape, with the M that it is for."""
    device = Model(num_sms=request.param)
    found = [(shape[0], config) for shape in SHAPES + HUGE for config in candidates(Problem(*shape, True), device)]
    assert len(found) > 20 * len(SHAPES)
    return found


def test_shared_memory_and_stages(legal):
    for _, c in legal:
        assert c.shared_bytes <= MAX_SHARED_BYTES == 232_448, c
        assert c.num_stages >= 2, c
        assert c.num_stages % c.k_split == 0, c
        assert c.num_d_strips >= 1, c
        assert c.raster_m >= 1, c
        assert c.k_unroll >= 1, c


def test_consumers_divide_the_tile(legal):
    for _, c in legal:
        assert c.k_split in (1, c.num_consumers), c
        assert c.k_split == 1 or c.block_m == 64, c
        assert c.block_m % (64 * c.num_consumers // c.k_split) == 0, c
        assert c.num_threads == 128 * (c.num_consumers + 1) <= 1024, c


def test_accumulators_fit_in_the_registers_of_a_consumer(legal):
    for _, c in legal:
        sums = c.block_m * c.block_n // (128 * (c.num_consumers // c.k_split))  # FP32 sums over K, for each thread
        most = REGISTER_FILE // (128 * c.num_consumers) - 8
        assert sums + c.wgmma_n // 2 < min(most, 248), c


def test_blocks_are_what_wgmma_and_tma_take(legal):
    for _, c in legal:
        assert c.block_n % 8 == 0, c
        assert 8 <= c.block_n <= MAX_BOX, c
        assert c.block_m <= MAX_BOX, c
        rows_a, rows_b = c.block_m / c.cluster_n, c.block_n / c.cluster_m
        assert rows_a % 8 == rows_b % 8 == 0, c  # what a CTA multicasts starts on a swizzle atom of 8 rows


def test_clusters(legal):
    for m, c in legal:
        assert (c.cluster_m, c.cluster_n, c.cluster_k) in CLUSTERS, c
        for sms in (s for s in SMS if s >= c.cluster_size):
            grid = c.grid(m, sms)
            assert grid % c.cluster_size == 0, c
            assert c.cluster_size <= grid <= min(sms, c.num_tiles(m) * c.cluster_k), c


def test_the_ctas_of_a_cluster_divide_k_evenly_and_at_once(legal):
    for m, c in (some for some in legal if some[1].cluster_k > 1):
        k_blocks = ceil_div(c.shape_k, 128)
        assert k_blocks % c.cluster_k == 0, c
        assert k_blocks > c.cluster_k, c
        assert c.grid(m, 132) == c.num_tiles(m) * c.cluster_k, c  # each has one part of one tile
        assert c.cluster_k < 4 or c.grid(m, 132) <= 128, c  # an H100 runs 32 clusters of 4 at once
        assert c.block_n <= 192, c
        assert c.block_m // 64 * c.k_split == c.num_consumers, c  # each warp 16 rows of it


def test_tiles_cover_the_product(legal):
    for m, c in legal:
        assert c.num_tiles(m) % (c.cluster_m * c.cluster_n) == 0, c
        assert c.num_tiles(m) * c.block_m * c.block_n >= m * c.shape_n, c
        assert c.num_tiles(m) < 2**32, c


def test_all_kinds_are_among_them(legal):
    kinds = {(c.block_m, c.num_consumers // c.k_split) for _, c in legal}
    assert {(64, 1), (128, 2), (256, 2)} <= kinds
    assert {c.cluster_m * c.cluster_n for _, c in legal} == {1, 2}
    assert {c.cluster_k for _, c in legal} == {1, 2, 4}
    assert any(c.k_split > 1 for _, c in legal)
    assert any(128 % c.block_n and c.block_n % 128 for _, c in legal)


EXAMPLE = GemmConfig(2112, 7168, 128, 112, 5, 2, 1, 2, 2, 1, 8, 1)


@pytest.mark.parametrize(
    ("m", "changes", "tiles"),
    [
        (1, {"cluster_m": 1}, 19),
        (128, {"cluster_m": 1}, 19),
        (129, {"cluster_m": 1}, 38),
        (1, {}, 38),  # one CTA of each cluster has no rows
        (257, {}, 76),
        (257, {"cluster_m": 1, "cluster_n": 2}, 60),
        (0, {}, 0),
    ],
)
def test_tiles_count_the_idle_halves_of_clusters(m, changes, tiles):
    config = EXAMPLE._replace(**changes)
    assert config.num_tiles(m) == tiles
    assert config.grid(m, 31) == min(tiles, 31 - 31 % config.cluster_size)


def test_constants_are_the_fields_and_the_bytes():
    constants = EXAMPLE.constants()
    assert constants.pop("SHARED_BYTES") == EXAMPLE.shared_bytes
    assert constants.pop("WGMMA_N") == EXAMPLE.wgmma_n
    assert constants.pop("BOX_M") == EXAMPLE.box_m
    assert {name.lower(): value for name, value in constants.items()} == {
        field: getattr(EXAMPLE, field) for field in GemmConfig._fields
    }


def test_groups_that_end_anywhere_are_copied_in_half_tiles():
    masked = EXAMPLE._replace(grouping=Grouping.MASKED, cluster_m=1, cluster_n=1)
    assert [masked._replace(block_m=rows).box_m for rows in (64, 128, 256)] == [32, 64, 256]
    assert masked._replace(block_m=128, cluster_n=2).box_m == 64
    assert masked._replace(block_m=128, cluster_m=2).box_m == 64
    assert masked._replace(block_m=128, grouping=Grouping.CONTIGUOUS).box_m == 128
    assert masked._replace(block_m=128, grouping=Grouping.DENSE, cluster_n=2).box_m == 64
