"""The Python twin of kernels_cu/grouping.cuh, segments.cuh and scheduler.cuh: what each CTA of a launch computes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Grouping, ceil_div

WORD = 1 << 32  # device integers are unsigned and of 32 bits
GROUPS_AT_ONCE = 8


class Tile(NamedTuple):
    group: int
    row: int
    column: int
    lead: int
    valid_rows: int
    peer_group: int = WORD - 1  # of the other block of rows in a cluster along M


class Segment(NamedTuple):
    first_tile: int
    group: int
    row: int
    rows: int


class Launch:
    """One launch on `m` rows; `layout` is what the device reads of its groups. After `play`, `tiles` are each CTA's."""

    def __init__(self, config: GemmConfig, m: int, num_sms: int, layout: Sequence[int] = ()) -> None:
        self.config, self.m, self.grid = config, m, config.grid(m, num_sms)
        self.layout = [int(x) % WORD for x in layout]
        self.clusters = self.grid // config.cluster_size
        self.tiles_n = ceil_div(config.shape_n, config.block_n * config.cluster_n)
        self.tiles: list[list[Tile]] = [[] for _ in range(self.grid)]
        self.draws = 0
        self.segments = self.list_segments() if config.grouping.on_device else []

    def play(self, rng: random.Random) -> None:
        """Clusters run in any order, some of them faster than others; one may begin when another has ended."""
        computed = self.next_of_segments if self.segments else self.given
        running, skew = [computed(cluster) for cluster in range(self.clusters)], rng.choice((1, 3))
        rng.shuffle(running)
        while running:
            chosen = int(len(running) * rng.random() ** skew)
            if next(running[chosen], "ended") == "ended":
                running.pop(chosen)

    def given(self, cluster: int) -> Iterator[None]:
        """`next`, `next_of_blocks`: cluster i has tiles i, i + clusters, …"""
        tiles = self.count_tiles_m(self.m) * self.tiles_n
        groups = self.config.num_groups if self.config.grouping is Grouping.BATCHED else 1
        for i in range(cluster, groups * tiles, self.clusters):
            group = i // tiles
            self.compute(cluster, Segment(0, group, 0, self.m), i - group * tiles)
            yield

    def next_of_segments(self, cluster: int) -> Iterator[None]:
        """With `draw` and `announce`; between them, and before the next tile, other clusters may run."""
        i, segment = cluster, 0
        while True:
            found = self.segments[segment]
            while (i - found.first_tile) % WORD >= self.count_tiles_m(self.lead(found.row) + found.rows) * self.tiles_n:
                if found.rows == 0:
                    return
                segment += 1
                found = self.segments[segment]
            self.compute(cluster, found, i - found.first_tile)
            yield
            drawn, last = self.draws, self.segments[-1].first_tile - 1
            self.draws = 0 if drawn >= last else drawn + 1  # atomicInc
            yield
            i = self.clusters + drawn

    def compute(self, cluster: int, of: Segment, index: int) -> None:
        size = self.config.cluster_size
        for rank in range(size):
            tile = self.place(of, index, rank)
            if self.config.grouping is Grouping.CONTIGUOUS:
                tile = tile._replace(group=self.group_of(tile.row))
                if self.config.cluster_m == 2:
                    tile = self.pair_up(tile, rank)
                if tile.group >= self.config.num_groups:
                    continue
            self.tiles[cluster * size + rank].append(tile)

    def pair_up(self, tile: Tile, rank: int) -> Tile:
        """What the CTA of this rank makes of its own block and its peer's; it asks nobody."""
        step, none = self.config.step_m, self.config.num_groups
        next_peer_group = self.group_of(tile.row + step if rank == 0 else tile.row - step)
        peer_group = next_peer_group if next_peer_group < none else tile.group
        if tile.group >= none:
            tile = tile._replace(group=peer_group, valid_rows=0)
        return tile._replace(peer_group=peer_group)

    def group_of(self, row: int) -> int:
        alignment = self.config.alignment
        return self.layout[row // alignment * alignment] if row < self.m else self.config.num_groups

    def place(self, of: Segment, index: int, rank: int) -> Tile:
        config = self.config
        rank_m, rank_n = (0 if config.cluster_m == 1 else rank), (0 if config.cluster_n == 1 else rank)
        rows = self.lead(of.row) + of.rows
        tiles_m = self.count_tiles_m(rows)
        band, in_band = divmod(index, config.raster_m * self.tiles_n)
        height = min(config.raster_m, tiles_m - band * config.raster_m)
        row = ((band * config.raster_m + in_band % height) * config.cluster_m + rank_m) * config.step_m
        column = (in_band // height * config.cluster_n + rank_n) * config.block_n
        valid_rows = min(rows - row, config.step_m) if row < rows and column < config.shape_n else 0
        lead = self.lead(of.row) if row == 0 else 0
        return Tile(of.group, of.row - self.lead(of.row) + row, column, lead, valid_rows)

    def begin_inside(self, tile: Tile) -> Tile:
        """Where the tile lies that is placed there; on the device `next` does both."""
        config, rows = self.config, self.m
        if not config.begins_inside:
            return tile
        last_row = max(ceil_div(rows - config.block_m, 4) * 4, 0)
        if tile.row > last_row:
            tile = tile._replace(row=last_row, valid_rows=rows - last_row if tile.valid_rows > 0 else 0)
        return tile

    def lead(self, first_row: int) -> int:
        return first_row % 4 if self.config.grouping is Grouping.OFFSETS else 0

    def count_tiles_m(self, rows: int) -> int:
        return ceil_div(rows, self.config.step_m * self.config.cluster_m)

    def valid_rows(self, tile: Tile, first: int) -> list[bool]:
        """Of 64 rows of a tile from `first` on."""
        if self.config.grouping is not Grouping.CONTIGUOUS:
            count = max(tile.valid_rows - first, 0)
            return [i < count and (first > 0 or i >= tile.lead) for i in range(64)]
        rows = 32 * ceil_div(self.config.step_m, 32)  # those whose indices a warp holds
        indices = [self.layout[tile.row + i] if i < tile.valid_rows else self.config.num_groups for i in range(rows)]
        valid = [tile.valid_rows > 0 and index == tile.group for index in indices]
        if rows == 32:
            return valid + [False] * 32
        return valid[:64] if first == 0 else valid[-64:]

    def rows_of_group(self, group: int) -> tuple[int, int]:
        """First row and rows."""
        if group >= self.config.num_groups:
            return 0, 0
        begin, end = 0, self.layout[group]
        if self.config.grouping is Grouping.OFFSETS:
            begin, end = end, self.layout[group + 1]
        elif self.config.grouping is Grouping.PSUM:
            before = 0 if group == 0 else self.layout[group - 1]
            alignment = self.config.alignment
            begin = (before + alignment - 1) % WORD // alignment * alignment if before <= self.m else self.m
        return (begin, end - begin) if begin < end <= self.m else (0, 0)

    def list_segments(self) -> list[Segment]:
        listed: dict[int, Segment] = {}
        tiles = count = 0
        for first in range(0, self.config.num_groups, 32 * GROUPS_AT_ONCE):
            for i in range(GROUPS_AT_ONCE):
                rows = [self.rows_of_group(first + i * 32 + lane) for lane in range(32)]
                own_tiles = [self.count_tiles_m(self.lead(x) + y) * self.tiles_n if y else 0 for x, y in rows]
                end_tiles = list(accumulate(own_tiles))
                for lane in (lane for lane, (_, y) in enumerate(rows) if y > 0):
                    position = count + sum(y > 0 for _, y in rows[:lane])
                    begin = tiles + end_tiles[lane] - own_tiles[lane]
                    listed[position] = Segment(begin, first + i * 32 + lane, *rows[lane])
                tiles += end_tiles[31]
                count += sum(y > 0 for _, y in rows)
        listed[count] = Segment(tiles, 0, 0, 0)
        return [listed[position] for position in range(self.config.num_groups + 1) if position in listed]
