"""The raster of kernels_cu/scheduler.cuh computes every tile exactly once, and its last band and odd clusters too."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import candidates, select_config
from nvgemm.choice.problem import Problem, ceil_div
from nvgemm.runtime.sources import kernels_dir

Tile = tuple[int, int, int]  # row, column, valid rows


def tiles_of_cta(config: GemmConfig, m: int, grid: int, block: int) -> Iterator[Tile]:
    """`Scheduler::next` of the CTA `block`, line by line; the ranks as `cluster_ctarank` gives them."""
    size, (next_tile, rank) = config.cluster_size, divmod(block, config.cluster_size)
    rank_m, rank_n = (0 if config.cluster_m == 1 else rank), (0 if config.cluster_n == 1 else rank)
    tiles_n = ceil_div(config.shape_n, config.block_n * config.cluster_n)
    tiles_m = ceil_div(m, config.block_m * config.cluster_m)
    while next_tile < tiles_m * tiles_n:
        band, in_band = divmod(next_tile, config.raster_m * tiles_n)
        height = min(config.raster_m, tiles_m - band * config.raster_m)
        row = ((band * config.raster_m + in_band % height) * config.cluster_m + rank_m) * config.block_m
        column = (in_band // height * config.cluster_n + rank_n) * config.block_n
        yield row, column, min(m - row, config.block_m) if row < m and column < config.shape_n else 0
        next_tile += grid // size


def test_the_twin_is_of_this_kernel():
    """Lines of the device code that `tiles_of_cta` repeats; where one changes, the twin must."""
    text = " ".join((kernels_dir() / "scheduler.cuh").read_text().split())
    for line in (
        "TILES_N = ceil_div(SHAPE_N, BLOCK_N * CLUSTER_N)",
        "next_tile(blockIdx.x / CLUSTER_SIZE)",
        "rank_m = CLUSTER_M == 1 ? 0 : rank;",
        "rank_n = CLUSTER_N == 1 ? 0 : rank;",
        "tiles_m = ceil_div(rows, BLOCK_M * CLUSTER_M)",
        "if (next_tile >= tiles_m * TILES_N) return false;",
        "band = next_tile / (RASTER_M * TILES_N)",
        "in_band = next_tile % (RASTER_M * TILES_N)",
        "height = min_of(RASTER_M, tiles_m - band * RASTER_M)",
        "tile.row = ((band * RASTER_M + in_band % height) * CLUSTER_M + rank_m) * BLOCK_M;",
        "tile.column = (in_band / height * CLUSTER_N + rank_n) * BLOCK_N;",
        "tile.valid_rows = tile.row < rows && tile.column < SHAPE_N ? min_of(rows - tile.row, BLOCK_M) : 0;",
        "next_tile += gridDim.x / CLUSTER_SIZE;",
    ):
        assert line in text, line


def check(config: GemmConfig, m: int, num_sms: int) -> None:
    grid = config.grid(m, num_sms)
    lists = [list(tiles_of_cta(config, m, grid, block)) for block in range(grid)]
    for first in range(0, grid, config.cluster_size):  # the CTAs of a cluster must go through as many stages
        assert len({len(tiles) for tiles in lists[first : first + config.cluster_size]}) == 1
    tiles = np.array([tile for part in lists for tile in part])
    assert len(tiles) == config.num_tiles(m)
    assert not (tiles[:, 0] % config.block_m).any()
    assert not (tiles[:, 1] % config.block_n).any()
    down, right = ceil_div(m, config.block_m), ceil_div(config.shape_n, config.block_n)
    covered = np.zeros((down, right), int)
    rows = np.zeros((down, right), int)
    for row, column, valid in tiles[tiles[:, 2] > 0]:
        covered[row // config.block_m, column // config.block_n] += 1
        rows[row // config.block_m, column // config.block_n] = valid
    assert (covered == 1).all()
    assert (rows.sum(axis=0) == m).all()


BLOCKS = [(64, 8), (64, 112), (128, 128), (256, 176)]
CLUSTERS = [(1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("raster", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("cluster", CLUSTERS, ids=str)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_tile_once(block, cluster, raster):
    for m, n, num_sms in product((1, 64, 65, 257, 1000), (8, 136, 1096), (2, 7, 132)):
        check(GemmConfig(n, 512, *block, 4, 2, 1, 2, *cluster, raster, 1), m, num_sms)


@pytest.mark.parametrize("shape", [(1, 8), (129, 2112), (300, 576), (4096, 4096), (8191, 1032), (10_000, 256)], ids=str)
def test_rasters_that_are_picked(shape):
    m, n = shape
    check(select_config(Problem(m, n, 7168, True)), m, 132)
    for config in list(candidates(Problem(m, n, 512, True)))[::17]:
        check(config, m, 131)


@pytest.mark.parametrize(("raster", "tiles_m"), [(4, 9), (8, 3), (3, 3), (5, 6)])
def test_a_band_is_walked_down_before_right(raster, tiles_m):
    config = GemmConfig(512, 512, 64, 64, 4, 1, 1, 1, 1, 1, raster, 1)
    order = [(row // 64, column // 64) for row, column, _ in tiles_of_cta(config, tiles_m * 64, 1, 0)]
    bands = [range(first, min(first + raster, tiles_m)) for first in range(0, tiles_m, raster)]
    assert order == [(row, column) for band in bands for column in range(8) for row in band]
