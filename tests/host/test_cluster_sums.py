"""`reduce_cluster` in kernels_cu/k_split.cuh, played through for one warp's rows with random interleavings.

The owner must add the sums of its own tile from every other CTA, nobody may wait for ever, and nothing may come to a
CTA that has ended. Mutants must not pass.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from mbarrier_model import Barrier, ProtocolError

CHUNKS, BYTES = 3, 16
Wait = tuple[Barrier, int] | None  # a barrier and a parity, or nothing


@dataclass
class Cluster:
    """`cluster_k` CTAs that divide the K of `tiles` tiles; CTA 0 owns the rows."""

    cluster_k: int
    tiles: int
    waits_for_empty: bool = True
    announced: Callable[[int], int] = lambda cluster_k: (cluster_k - 1) * CHUNKS * BYTES
    arrives_first: bool = False  # the owner, before it has read
    waits_at_end: bool = True
    flights: list[Callable[[], None]] = field(default_factory=list)  # chunks and arrivals under way
    ended: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.full = Barrier(1)
        self.empty = [Barrier(1) for _ in range(self.cluster_k)]
        self.sums = [[-1] * CHUNKS for _ in range(self.cluster_k - 1)]

    def sender(self, rank: int) -> Iterator[Wait]:
        for tile in range(self.tiles):
            if self.waits_for_empty:
                yield self.empty[rank], tile % 2 ^ 1
            for chunk in range(CHUNKS):
                self.flights.append(lambda chunk=chunk, tile=tile: self.land(rank - 1, chunk, tile))
                yield None
        if self.waits_at_end:
            yield self.empty[rank], (self.tiles - 1) % 2
        self.ended.add(rank)

    def land(self, place: int, chunk: int, tile: int) -> None:
        if 0 in self.ended:
            raise ProtocolError("sums come to a CTA that has ended")
        self.sums[place][chunk] = tile
        self.full.complete(BYTES)

    def owner(self) -> Iterator[Wait]:
        for tile in range(self.tiles):
            self.full.arrive(self.announced(self.cluster_k))
            yield self.full, tile % 2
            if self.arrives_first:
                self.give_back()
            for place in self.sums:
                for chunk in range(CHUNKS):
                    yield None
                    if place[chunk] != tile:
                        raise ProtocolError(f"sums of tile {place[chunk]} are added to those of {tile}")
            if not self.arrives_first:
                self.give_back()
        self.ended.add(0)

    def give_back(self) -> None:
        for rank in range(1, self.cluster_k):
            self.flights.append(lambda rank=rank: self.arrive_at(rank))

    def arrive_at(self, rank: int) -> None:
        if rank in self.ended:
            raise ProtocolError("an arrival comes to a CTA that has ended")
        self.empty[rank].arrive()

    def play(self, rng: random.Random) -> None:
        running = [self.owner(), *(self.sender(rank) for rank in range(1, self.cluster_k))]
        waiting: list[Wait] = [None] * len(running)
        while running or self.flights:
            ready = [i for i, wait in enumerate(waiting) if wait is None or wait[0].passes(wait[1])]
            chosen = rng.randrange(len(ready) + len(self.flights)) if ready or self.flights else None
            if chosen is None:
                raise ProtocolError("nobody can go on")
            if chosen >= len(ready):
                self.flights.pop(rng.randrange(len(self.flights)))()  # in any order
                continue
            try:
                waiting[ready[chosen]] = next(running[ready[chosen]])
            except StopIteration:
                running.pop(ready[chosen])
                waiting.pop(ready[chosen])


@pytest.mark.parametrize("cluster_k", [2, 4, 8])
@pytest.mark.parametrize("tiles", [1, 2, 7])
def test_the_owner_adds_the_sums_of_its_tile(cluster_k, tiles, rng):
    for _ in range(40):
        Cluster(cluster_k, tiles).play(random.Random(int(rng.integers(1 << 32))))


MUTANTS = {
    "sums sent before the last tile's are read": dict(waits_for_empty=False),
    "places given back before they are read": dict(arrives_first=True),
    "a sender ends before its sums are read": dict(waits_at_end=False),
    "bytes of one CTA announced for all": dict(announced=lambda cluster_k: CHUNKS * BYTES),
    "more bytes announced than come": dict(announced=lambda cluster_k: cluster_k * CHUNKS * BYTES),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_noticed(name, rng):
    seeds = [int(rng.integers(1 << 32)) for _ in range(300)]
    with pytest.raises(ProtocolError):
        play_all(seeds, **MUTANTS[name])


def play_all(seeds: list[int], **mutant) -> None:
    for seed in seeds:
        Cluster(3, 4, **mutant).play(random.Random(seed))
