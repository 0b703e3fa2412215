"""Rows of ragged groups are computed once for each column of their B, whoever draws which tile, and no other rows."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from scheduler_twin import Launch

from nvgemm import reference
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Grouping, Problem, ceil_div

BAD = (-1, -(2**31), 2**31 - 1)
CLUSTERS = [(1, 1), (2, 1), (1, 2)]
BLOCKS = [(64, 48, 1, 1), (64, 16, 4, 4), (128, 256, 2, 1), (256, 112, 2, 1)]  # block_m, block_n, consumers, k_split
GROUPINGS = [(Grouping.MASKED, 1), (Grouping.OFFSETS, 1), (Grouping.PSUM, 32), (Grouping.PSUM, 128)]  # with alignments
GROUPINGS += [(Grouping.CONTIGUOUS, alignment) for alignment in (32, 64, 128)]


def expected_rows(grouping: Grouping, layout: np.ndarray, m: int, groups: int, alignment: int) -> np.ndarray:
    """Whether a row is computed for a group: bool [G, M]. Where groups claim the same row, both may."""
    if grouping is Grouping.CONTIGUOUS:
        return reference.rows_of_contiguous(layout, groups, alignment) == np.arange(groups)[:, None]
    if grouping is Grouping.MASKED:
        return reference.rows_of_masked(layout, m) >= 0
    if grouping is Grouping.OFFSETS:
        return np.array([reference.rows_of_offsets(layout[group : group + 2], m) == 0 for group in range(groups)])
    pairs = [layout[max(group - 1, 0) : group + 1] for group in range(groups)]  # the end before, if there is one
    return np.array([reference.rows_of_psum(pair, m, alignment) == len(pair) - 1 for pair in pairs])


def check(config: GemmConfig, layout: np.ndarray, m: int, num_sms: int, rng: np.random.Generator) -> None:
    launch = Launch(config, m, num_sms, layout)
    launch.play(random.Random(int(rng.integers(1 << 32))))
    assert launch.draws == 0
    computed = np.zeros((config.num_groups, m, ceil_div(config.shape_n, config.block_n)), int)
    for first in range(0, launch.grid, config.cluster_size):
        ctas = launch.tiles[first : first + config.cluster_size]
        assert len({len(tiles) for tiles in ctas}) == 1  # as many stages
        if config.grouping is not Grouping.CONTIGUOUS:
            assert len({tuple(tile.group for tile in tiles) for tiles in ctas}) == 1  # of the same B
        elif config.cluster_m == 2:
            for one, other in zip(*ctas, strict=True):  # each CTA alone decides whether they share B
                assert (one.peer_group, other.peer_group) == (other.group, one.group)
        for tile in (tile for tiles in ctas for tile in tiles):
            rows = rows_in_tile(launch, tile)
            assert tile.row % 4 == 0, "scales of A are read from 16-byte units on"
            if len(rows):
                computed[tile.group, tile.row + rows, tile.column // config.block_n] += 1
    expected = expected_rows(config.grouping, layout, m, config.num_groups, config.alignment)
    np.testing.assert_array_equal(computed, np.broadcast_to(expected[..., None], computed.shape))


def rows_in_tile(launch: Launch, tile) -> np.ndarray:
    """Rows of a tile that its consumers store; one without rows in its first slice skips the tile."""
    slice_rows = 64 * launch.config.num_consumers // launch.config.k_split
    stored = []
    for first_row in range(0, slice_rows, 64):
        if any(launch.valid_rows(tile, first_row)):
            for first in range(first_row, launch.config.block_m, slice_rows):
                stored += [first + i for i, valid in enumerate(launch.valid_rows(tile, first)) if valid]
    return np.array(stored, int)


def layouts(grouping: Grouping, groups: int, m: int, alignment: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Good ones and impossible ones, int32."""
    if grouping is Grouping.CONTIGUOUS:
        yield from indices(groups, m, alignment, rng)
        return
    size = groups + (grouping is Grouping.OFFSETS)
    random_values = rng.integers(-5, m + 6, size)
    for values in (
        np.sort(rng.integers(0, m + 1, size)),  # a good layout: where groups begin or end
        rng.integers(0, m // groups + 1, size),  # good counts
        np.zeros(size),
        np.where(np.arange(size) < size // 2, 0, m),  # one has it all
        random_values,
        np.sort(random_values),
        np.sort(random_values)[::-1],
        np.where(rng.random(size) < 0.3, rng.choice(BAD, size), random_values),
        rng.choice((*BAD, 0, m), size),
        np.full(size, m),
        np.full(size, m + 1),
    ):
        yield values.astype(np.int32)


def indices(groups: int, m: int, alignment: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    good = rng.integers(-1, groups, ceil_div(m, alignment)).repeat(alignment)[:m].astype(np.int32)
    cut = np.where(np.arange(m) % alignment < rng.integers(0, alignment + 1), good, -1)
    mixed = np.where(rng.random(m) < 0.3, rng.integers(-1, groups, m), good)
    yield from (good, cut, mixed, np.full(m, -1, np.int32), np.full(m, groups - 1, np.int32))
    yield np.where(rng.random(m) < 0.3, rng.choice((*BAD, groups), m), good)


@pytest.mark.parametrize("groups", [1, 3, 40, 300])
@pytest.mark.parametrize(("grouping", "alignment"), GROUPINGS)
def test_rows_of_groups_and_no_others(grouping, alignment, groups, rng):
    for cluster in CLUSTERS:
        block_m, *blocks = BLOCKS[rng.integers(len(BLOCKS))]
        if grouping is Grouping.CONTIGUOUS and block_m > max(alignment, 64):
            block_m, *blocks = (128, 256, 2, 1) if alignment == 128 else (64, 48, 1, 1)
        block_n, num_consumers, k_split = blocks
        raster = int(rng.choice((1, 3, 4, 32)))
        config = GemmConfig(
            264, 512, block_m, block_n, 4, num_consumers, k_split, 1, *cluster, raster, 1, grouping, groups, alignment
        )
        for m in (1, 130, 30_000 // (groups + 50)):
            for layout in layouts(grouping, groups, m, alignment, rng):
                check(config, layout, m, int(rng.choice((2, 7, 132))), rng)


@pytest.mark.parametrize("expected_m", [1, 20, 100, 300, 4096])
@pytest.mark.parametrize(("grouping", "alignment"), GROUPINGS)
def test_kernels_that_are_picked(grouping, alignment, expected_m, rng):
    m, groups = 600, 5
    problem = Problem(m, 264, 512, True, grouping, groups, alignment, expected_m)
    for config in list(candidates(problem))[:: int(rng.integers(11, 17))]:
        for layout in list(layouts(grouping, groups, m, alignment, rng))[:: int(rng.integers(1, 3))]:
            check(config, layout, m, 131, rng)


@pytest.mark.parametrize("cluster", [1, 2])
@pytest.mark.parametrize("tiles", [0, 1, 3, 4, 5, 8, 30])
def test_the_counter_is_left_at_zero(tiles, cluster, rng):
    """For fewer tiles than clusters, as many, and more; in any order of the draws."""
    config = GemmConfig(64, 512, 64, 64, 4, 1, 1, 1, cluster, 1, 4, 1, Grouping.MASKED, 3)
    counts = np.array([tiles // 2, 0, tiles - tiles // 2]) * 64 * cluster
    for _ in range(50):
        check(config, counts, 15 * 64 * cluster, 4 * cluster, rng)


def test_a_counter_that_is_not_at_zero_costs_tiles(rng):
    config = GemmConfig(64, 512, 64, 64, 4, 1, 1, 1, 1, 1, 4, 1, Grouping.MASKED, 1)
    launch = Launch(config, 640, 4, [640])
    launch.draws = 1
    launch.play(random.Random(int(rng.integers(1 << 32))))
    assert sum(map(len, launch.tiles)) < 10


@pytest.mark.parametrize("rows", [(0, 3), (1, 64), (2, 65), (3, 61), (3, 62), (67, 130)])
def test_offsets_between_units_of_scales(rows):
    """The first tile begins at most 3 rows early, and leaves those out."""
    first, end = rows
    config = GemmConfig(64, 512, 64, 64, 4, 1, 1, 1, 1, 1, 4, 1, Grouping.OFFSETS, 1)
    launch = Launch(config, 200, 1, rows)
    launch.play(random.Random(0))
    begin = first // 4 * 4
    assert [tile.row for tile in launch.tiles[0]] == list(range(begin, end, 64))
    assert [tile.lead for tile in launch.tiles[0]] == [first - begin] + [0] * (len(launch.tiles[0]) - 1)
