"""A model of kernels_cu/pipeline.cuh and of the tickets in scheduler.cuh: who waits for whom in one cluster."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mbarrier_model import Barrier, ProtocolError

Wait = tuple[Barrier, int] | None  # a barrier and a parity, or nothing


@dataclass
class Ring:
    """One kernel: `k_blocks` for each of `tiles` tiles, through `stages` stages, in a cluster of `ctas`.

    Consumers that split K never meet after a tile here, as they do not after one that they skip.
    """

    stages: int
    k_blocks: int
    tiles: int
    consumers: int
    k_split: int
    ctas: int
    tickets: int = 0  # slots of them; 0: each role counts the tiles for itself
    owner: Callable[[Ring, int, int], int] = lambda ring, stage, k: stage % ring.k_split
    empty_arrivals: Callable[[Ring], int] = lambda ring: ring.consumers // ring.k_split * ring.ctas
    release_first: bool = False
    parity_ahead: Callable[[int, int], int] = lambda stage, phase: phase ^ (stage == 0)
    stages_ahead: Callable[[Ring], int] = lambda ring: ring.k_split
    skips: Callable[[int, int, int], bool] = lambda cta, row_group, tile: False
    locates_after_skip: bool = True
    lanes_wait: bool = True  # each lane of the scales by itself, and not the warp as one
    lanes_meet_first: bool = True  # before one arrives, and not after
    flights: list[Callable[[], None]] = field(default_factory=list)  # copies under way

    def __post_init__(self) -> None:
        self.full = [[Barrier(2) for _ in range(self.stages)] for _ in range(self.ctas)]
        self.empty = [[Barrier(self.empty_arrivals(self)) for _ in range(self.stages)] for _ in range(self.ctas)]
        parts = ("own", "scales", *range(self.ctas))  # with two CTAs each fetches half of what they share
        self.memory = [[dict.fromkeys(parts, -1) for _ in range(self.stages)] for _ in range(self.ctas)]
        self.ticket = [[-1] * self.tickets for _ in range(self.ctas)]
        self.ticket_full = [[Barrier(1) for _ in range(self.tickets)] for _ in range(self.ctas)]
        self.lanes = [Barrier(2) for _ in range(self.ctas)]  # __syncwarp of the warp that brings the scales of B

    def positions(self, tile: int) -> Iterator[tuple[int, int, int, int]]:
        """Step, k-block, stage and phase as every role counts them for itself."""
        for k in range(self.k_blocks):
            step = tile * self.k_blocks + k
            yield step, k, step % self.stages, step // self.stages % 2

    def next_tile(self, cta: int, tile: int) -> Iterator[Wait]:
        """By each role: `Scheduler::ticket`, from the second tile on; `tile` is the one it must find."""
        if tile == 0 or not self.tickets:
            return
        slot = (tile - 1) % self.tickets
        yield self.ticket_full[cta][slot], (tile - 1) // self.tickets % 2
        yield None  # time passes before it is read
        if self.ticket[cta][slot] != tile:
            raise ProtocolError(f"the ticket of tile {tile} has become that of {self.ticket[cta][slot]}")

    def announce(self, cta: int, tile: int) -> None:
        if not self.tickets:
            return
        slot = tile % self.tickets
        self.ticket_full[cta][slot].arrive(expect=1)

        def land(target: int) -> None:
            self.ticket[target][slot] = tile + 1
            self.ticket_full[target][slot].complete(1)

        if cta == 0:
            self.flights += [lambda target=target: land(target) for target in range(self.ctas)]

    def copies(self, cta: int) -> Iterator[Wait]:
        for tile in range(self.tiles):
            yield from self.next_tile(cta, tile)
            for step, _, stage, phase in self.positions(tile):
                yield self.empty[cta][stage], phase ^ 1
                self.full[cta][stage].arrive(expect=1 + self.ctas)
                self._fly([cta], stage, "own", step)
                self._fly(list(range(self.ctas)), stage, cta, step)
            self.announce(cta, tile)
        yield from self.next_tile(cta, self.tiles)

    def _fly(self, targets: list[int], stage: int, part: str | int, step: int) -> None:
        def land(target: int) -> None:
            self.memory[target][stage][part] = step
            self.full[target][stage].complete(1)

        self.flights += [lambda target=target: land(target) for target in targets]

    def scales(self, cta: int, lane: int) -> Iterator[Wait]:
        """Lane 0 writes them and arrives; lane 1 stands for those that only come along, and wait when it does."""
        for tile in range(self.tiles):
            yield from self.next_tile(cta, tile)
            for step, _, stage, phase in self.positions(tile):
                if lane == 0 or self.lanes_wait:
                    yield self.empty[cta][stage], phase ^ 1
                if self.lanes_meet_first:
                    yield from self._meet(cta, step)
                if lane == 0:
                    self.memory[cta][stage]["scales"] = step
                    self.full[cta][stage].arrive()
                if not self.lanes_meet_first:
                    yield from self._meet(cta, step)
        yield from self.next_tile(cta, self.tiles)

    def _meet(self, cta: int, step: int) -> Iterator[Wait]:
        self.lanes[cta].arrive()
        yield self.lanes[cta], step % 2

    def consume(self, cta: int, consumer: int) -> Iterator[Wait]:
        row_group, rank = (0, consumer) if self.k_split > 1 else (consumer, 0)
        full, ahead = False, rank  # what is known of the next stage, and which it is
        for tile in range(self.tiles):
            yield from self.next_tile(cta, tile)
            skips = self.skips(cta, row_group, tile)
            for step, k, stage, phase in self.positions(tile):
                if self.owner(self, stage, k) != rank:
                    continue
                if skips or not full:
                    yield self.full[cta][stage], phase
                if skips or self.release_first:
                    self._release(stage)
                if skips:
                    continue
                yield None  # others may run while the tensor cores read
                read, ahead = ahead, (stage + self.stages_ahead(self)) % self.stages
                if self.k_split == 1:
                    full = self.full[cta][ahead].passes(self.parity_ahead(ahead, phase))
                if set(self.memory[cta][read].values()) != {step}:
                    raise ProtocolError(f"step {step} read {self.memory[cta][read]} in stage {read}")
                if not self.release_first:
                    self._release(stage)
            if skips and self.locates_after_skip:
                step = (tile + 1) * self.k_blocks
                step += (rank - step) % self.k_split
                ahead = step % self.stages
                full = self.k_split == 1 and self.full[cta][ahead].passes(step // self.stages % 2)
        yield from self.next_tile(cta, self.tiles)

    def _release(self, stage: int) -> None:
        for cta in range(self.ctas):
            self.empty[cta][stage].arrive()

    def play(self, rng: random.Random) -> None:
        """In any order; in some plays a few roles move only when nobody else can."""
        roles = [self.copies(cta) for cta in range(self.ctas)]
        roles += [self.scales(cta, lane) for cta in range(self.ctas) for lane in range(2)]
        roles += [self.consume(cta, consumer) for cta in range(self.ctas) for consumer in range(self.consumers)]
        slow = rng.sample(roles, rng.choice((0, 1, 1, 3)))
        waiting: list[tuple[Iterator[Wait], Wait]] = [(role, None) for role in roles]
        while waiting or self.flights:
            ready = [i for i, (_, wait) in enumerate(waiting) if wait is None or wait[0].passes(wait[1])]
            if not ready and not self.flights:
                raise ProtocolError("everybody waits")
            fast = [i for i in ready if waiting[i][0] not in slow]
            ready = fast if fast or self.flights else ready
            pick = rng.randrange(len(ready) + len(self.flights))
            if pick >= len(ready):
                self.flights.pop(pick - len(ready))()
                continue
            role, _ = waiting.pop(ready[pick])
            try:
                waiting.append((role, next(role)))
            except StopIteration:
                continue
