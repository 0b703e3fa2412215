"""The raster of kernels_cu/scheduler.cuh computes every tile exactly once, and its last band and odd clusters too."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from scheduler_twin import Launch

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import candidates, select_config
from nvgemm.choice.problem import Grouping, Problem, ceil_div
from nvgemm.runtime.sources import kernels_dir

REPEATED = {
    "grouping.cuh": (
        "STEP_M = GROUPING == CONTIGUOUS ? min_of(BLOCK_M, ALIGNMENT) : BLOCK_M;",
        "TILES_N = ceil_div(SHAPE_N, BLOCK_N * CLUSTER_N)",
        "lead(uint32_t first_row) { return GROUPING == OFFSETS ? first_row % 4 : 0; }",
        "count_tiles_m(uint32_t rows) { return ceil_div(rows, STEP_M * CLUSTER_M); }",
    ),
    "segments.cuh": (
        "GROUPS_AT_ONCE = 8;",
        "if (group >= NUM_GROUPS) return {0, 0};",
        "begin = 0, end = load_settled(layout + group);",
        "begin = end; end = load_settled(layout + group + 1);",
        "before = group == 0 ? 0 : load_settled(layout + group - 1);",
        "begin = before <= m ? ceil_div(before, ALIGNMENT) * ALIGNMENT : m;",
        "return begin < end && end <= m ? make_uint2(begin, end - begin) : make_uint2(0, 0);",
        "own_tiles = rows[i].y == 0 ? 0 : count_tiles_m(lead(rows[i].x) + rows[i].y) * TILES_N;",
        "position = count + __popc(present & ((1u << lane) - 1));",
        "= {tiles + end_tile - own_tiles, first + i * 32 + lane, rows[i].x, rows[i].y};",
        "tiles += __shfl_sync(0xffffffff, end_tile, 31); count += __popc(present);",
        "shared.segments[count] = {tiles, 0, 0, 0}; shared.num_tiles = tiles;",
    ),
    "scheduler.cuh": (
        "return blockIdx.x / CLUSTER_SIZE + round * (gridDim.x / CLUSTER_SIZE);",
        "rank_m = CLUSTER_M == 1 ? 0 : rank; rank_n = CLUSTER_N == 1 ? 0 : rank; rank_k = CLUSTER_K == 1 ? 0 : rank;",
        "tiles = count_tiles_m(rows) * TILES_N, i = index(); if (i >= NUM_GROUPS * tiles) return false;",
        "group = GROUPING == BATCHED ? i / tiles : 0; place(tile, {0, group, 0, rows}, i - group * tiles);",
        "i = round == 0 ? index() : ticket();",
        "while (i - found.first_tile >= count_tiles_m(lead(found.row) + found.rows) * TILES_N) {"
        " if (found.rows == 0) return false; found = shared.segments[++segment]; }",
        "atomicInc(draws, shared.num_tiles - 1)",
        "ticket = gridDim.x / CLUSTER_SIZE + drawn;",
        "while (index() < count_tiles_m(rows) * TILES_N) {",
        "if (tile.group < NUM_GROUPS) return true;",
        "next_group = group_of(tile.row);",
        "return row < rows ? load_settled(layout + row / ALIGNMENT * ALIGNMENT) : NUM_GROUPS;",
        "next_peer_group = group_of(rank_m == 0 ? tile.row + STEP_M : tile.row - STEP_M);",
        "peer_group = next_peer_group < NUM_GROUPS ? next_peer_group : tile.group;"
        " if (tile.group < NUM_GROUPS) return; tile.group = peer_group; tile.valid_rows = 0;",
        "row < tile.valid_rows ? load_settled(layout + tile.row + row) : NUM_GROUPS;",
        "rows = lead(of.row) + of.rows, tiles_m = count_tiles_m(rows);",
        "band = index / (RASTER_M * TILES_N); const uint32_t in_band = index % (RASTER_M * TILES_N);",
        "height = min_of(RASTER_M, tiles_m - band * RASTER_M);",
        "row = ((band * RASTER_M + in_band % height) * CLUSTER_M + rank_m) * STEP_M;",
        "tile.row = of.row - lead(of.row) + row; tile.lead = row == 0 ? lead(of.row) : 0;",
        "tile.column = (in_band / height * CLUSTER_N + rank_n) * BLOCK_N;",
        "tile.valid_rows = row < rows && tile.column < SHAPE_N ? min_of(rows - row, STEP_M) : 0;",
        "if constexpr (BEGINS_INSIDE) begin_inside(tile);",
        "last_row = rows > BLOCK_M ? ceil_div(rows - BLOCK_M, 4) * 4 : 0;",
        "if (tile.row <= last_row) return; tile.row = last_row;"
        " tile.valid_rows = tile.valid_rows > 0 ? rows - last_row : 0;",
        "return first == 0 ? rows >> tile.lead << tile.lead : rows;",
        "valid[i] = __ballot_sync(0xffffffff, tile.valid_rows > 0 && indices[i] == tile.group);",
    ),
}


@pytest.mark.parametrize("file", REPEATED)
def test_the_twin_is_of_this_kernel(file):
    """Lines of the device code that `scheduler_twin` repeats; where one changes, the twin must."""
    lines = (line.partition("//")[0] for line in (kernels_dir() / file).read_text().splitlines())
    text = " ".join(" ".join(lines).split())
    for line in REPEATED[file]:
        assert line in text, line


def check(config: GemmConfig, m: int, num_sms: int) -> None:
    launch = Launch(config, m, num_sms)
    launch.play(random.Random(0))
    for first in range(0, launch.grid, config.cluster_size):  # the CTAs of a cluster must go through as many stages
        assert len({len(tiles) for tiles in launch.tiles[first : first + config.cluster_size]}) == 1
    tiles = np.array([tile for part in launch.tiles for tile in part])
    assert len(tiles) == config.num_groups * config.num_tiles(m) * config.cluster_k
    group, row, column, lead, valid, _ = tiles.T
    assert not any(x.any() for x in (row % config.block_m, column % config.block_n, lead))
    down, right = ceil_div(m, config.block_m), ceil_div(config.shape_n, config.block_n)
    covered = np.zeros((config.num_groups, down, right), int)
    rows = np.zeros((config.num_groups, down, right), int)
    cells = tuple(x[valid > 0] for x in (group, row // config.block_m, column // config.block_n))
    np.add.at(covered, cells, 1)
    rows[cells] = valid[valid > 0]
    assert (covered == config.cluster_k).all()
    assert (rows.sum(axis=1) == m).all()


BLOCKS = [(64, 8), (64, 112), (128, 128), (256, 176)]
CLUSTERS = [(1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("raster", [1, 2, 3, 8, 32])
@pytest.mark.parametrize("cluster", CLUSTERS, ids=str)
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_tile_once(block, cluster, raster):
    for m, n, num_sms in product((1, 64, 65, 257, 1000), (8, 136, 1096), (2, 7, 132)):
        check(GemmConfig(n, 512, *block, 4, 2, 1, 2, *cluster, raster, 1), m, num_sms)


@pytest.mark.parametrize("groups", [1, 2, 5])
@pytest.mark.parametrize("cluster", CLUSTERS, ids=str)
def test_every_tile_of_every_matrix_once(cluster, groups):
    for block, m, num_sms in product(BLOCKS, (1, 257, 1000), (2, 7, 132)):
        check(GemmConfig(264, 512, *block, 4, 2, 1, 2, *cluster, 4, 1, Grouping.BATCHED, groups), m, num_sms)


@pytest.mark.parametrize("shape", [(1, 8), (129, 2112), (300, 576), (4096, 4096), (8191, 1032), (10_000, 256)], ids=str)
def test_rasters_that_are_picked(shape):
    m, n = shape
    check(select_config(Problem(m, n, 7168, True)), m, 132)
    for config in list(candidates(Problem(m, n, 512, True)))[::17]:
        check(config, m, 131)


@pytest.mark.parametrize("cluster", CLUSTERS, ids=str)
@pytest.mark.parametrize("block", [*BLOCKS, (128, 72), (64, 24)], ids=str)
@pytest.mark.parametrize("m", [1, 64, 129, 200, 257, 300, 777])
def test_tiles_begin_inside_of_d(m, block, cluster):
    """Every element is computed, by no tile of other rows than its own, and hardly a row is read below the last."""
    block_m, block_n = block
    for n in (block_n + 8, 520, 1096):
        launch = Launch(GemmConfig(n, 512, *block, 4, 2, 1, 2, *cluster, 4, 1, begins_inside=True), m, 7)
        launch.play(random.Random(0))
        covered = np.zeros((m, n), bool)
        for tile in map(launch.begin_inside, (tile for part in launch.tiles for tile in part)):
            assert tile.row % 4 == tile.column % block_n == 0
            assert tile.row + block_m <= max(m + 3, block_m)
            assert tile.valid_rows in (0, min(m - tile.row, block_m))
            covered[tile.row : tile.row + tile.valid_rows, tile.column : tile.column + block_n] = True
        assert covered.all()


@pytest.mark.parametrize(("raster", "tiles_m"), [(4, 9), (8, 3), (3, 3), (5, 6)])
def test_a_band_is_walked_down_before_right(raster, tiles_m):
    launch = Launch(GemmConfig(512, 512, 64, 64, 4, 1, 1, 1, 1, 1, raster, 1), tiles_m * 64, 1)
    launch.play(random.Random(0))
    order = [(tile.row // 64, tile.column // 64) for tile in launch.tiles[0]]
    bands = [range(first, min(first + raster, tiles_m)) for first in range(0, tiles_m, raster)]
    assert order == [(row, column) for band in bands for column in range(8) for row in band]
