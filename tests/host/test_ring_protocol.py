"""The ring of stages in kernels_cu/pipeline.cuh, played through with random interleavings of all who take part.

Every k-block of every tile must reach its consumer whole, and nobody may wait for ever. Mutants of the protocol must
not pass: each is a mistake that a GPU shows as a rare hang or a wrong sum.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest


class ProtocolError(Exception):
    pass


@dataclass
class Barrier:
    """An mbarrier: a phase completes when all have arrived and the announced bytes have come."""

    count: int
    pending: int = 0
    bytes: int = 0
    phase: int = 0

    def __post_init__(self) -> None:
        self.pending = self.count

    def arrive(self, expect: int = 0) -> None:
        if self.pending == 0:
            raise ProtocolError("more arrivals than the phase expects")
        self.pending -= 1
        self.complete(-expect)

    def complete(self, arrived: int) -> None:
        self.bytes += arrived
        if self.pending == 0 and self.bytes == 0:
            self.phase, self.pending = self.phase + 1, self.count

    def passes(self, parity: int) -> bool:
        """try_wait.parity: true while the phase before the current one has this parity."""
        return self.phase % 2 != parity


Wait = tuple[Barrier, int] | None  # a barrier and a parity, or nothing


@dataclass
class Ring:
    """One kernel: `k_blocks` for each of `tiles` tiles, through `stages` stages, in a cluster of `ctas`."""

    stages: int
    k_blocks: int
    tiles: int
    consumers: int
    k_split: int
    ctas: int
    owner: Callable[[Ring, int, int], int] = lambda ring, stage, k: stage % ring.k_split
    empty_arrivals: Callable[[Ring], int] = lambda ring: ring.consumers // ring.k_split * ring.ctas
    release_first: bool = False
    parity_ahead: Callable[[int, int], int] = lambda stage, phase: phase ^ (stage == 0)
    stages_ahead: Callable[[Ring], int] = lambda ring: ring.k_split
    flights: list[Callable[[], None]] = field(default_factory=list)  # copies under way

    def __post_init__(self) -> None:
        self.full = [[Barrier(2) for _ in range(self.stages)] for _ in range(self.ctas)]
        self.empty = [[Barrier(self.empty_arrivals(self)) for _ in range(self.stages)] for _ in range(self.ctas)]
        parts = ("own", "scales", *range(self.ctas))  # with two CTAs each fetches half of what they share
        self.memory = [[dict.fromkeys(parts, -1) for _ in range(self.stages)] for _ in range(self.ctas)]

    def positions(self) -> Iterator[tuple[int, int, int, int]]:
        """Step, k-block, stage and phase as every role counts them for itself."""
        stage = phase = 0
        for step in range(self.tiles * self.k_blocks):
            yield step, step % self.k_blocks, stage, phase
            stage = (stage + 1) % self.stages
            phase ^= stage == 0

    def copies(self, cta: int) -> Iterator[Wait]:
        for step, _, stage, phase in self.positions():
            yield self.empty[cta][stage], phase ^ 1
            self.full[cta][stage].arrive(expect=1 + self.ctas)
            self._fly([cta], stage, "own", step)
            self._fly(list(range(self.ctas)), stage, cta, step)

    def _fly(self, targets: list[int], stage: int, part: str | int, step: int) -> None:
        def land(target: int) -> None:
            self.memory[target][stage][part] = step
            self.full[target][stage].complete(1)

        self.flights += [lambda target=target: land(target) for target in targets]

    def scales(self, cta: int) -> Iterator[Wait]:
        for step, _, stage, phase in self.positions():
            yield self.empty[cta][stage], phase ^ 1
            self.memory[cta][stage]["scales"] = step
            self.full[cta][stage].arrive()

    def consume(self, cta: int, consumer: int) -> Iterator[Wait]:
        rank = consumer if self.k_split > 1 else 0
        full, ahead = False, rank  # what is known of the next stage, and which it is
        for step, k, stage, phase in self.positions():
            if self.owner(self, stage, k) != rank:
                continue
            if not full:
                yield self.full[cta][stage], phase
            if self.release_first:
                self._release(stage)
            yield None  # others may run while the tensor cores read
            read, ahead = ahead, (stage + self.stages_ahead(self)) % self.stages
            if self.k_split == 1:
                full = self.full[cta][ahead].passes(self.parity_ahead(ahead, phase))
            if set(self.memory[cta][read].values()) != {step}:
                raise ProtocolError(f"step {step} read {self.memory[cta][read]} in stage {read}")
            if not self.release_first:
                self._release(stage)

    def _release(self, stage: int) -> None:
        for cta in range(self.ctas):
            self.empty[cta][stage].arrive()

    def play(self, rng: random.Random) -> None:
        roles = [role for cta in range(self.ctas) for role in (self.copies(cta), self.scales(cta))]
        roles += [self.consume(cta, consumer) for cta in range(self.ctas) for consumer in range(self.consumers)]
        waiting: list[tuple[Iterator[Wait], Wait]] = [(role, None) for role in roles]
        while waiting or self.flights:
            ready = [i for i, (_, wait) in enumerate(waiting) if wait is None or wait[0].passes(wait[1])]
            if not ready and not self.flights:
                raise ProtocolError("everybody waits")
            pick = rng.randrange(len(ready) + len(self.flights))
            if pick >= len(ready):
                self.flights.pop(pick - len(ready))()
                continue
            role, _ = waiting.pop(ready[pick])
            try:
                waiting.append((role, next(role)))
            except StopIteration:
                continue


KINDS = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 4, 1), (2, 1, 2), (2, 2, 2), (4, 4, 2)]  # consumers, k_split, ctas


@pytest.mark.parametrize(("consumers", "k_split", "ctas"), KINDS)
@pytest.mark.parametrize("k_blocks", [1, 3, 4, 9, 17])
def test_every_k_block_reaches_its_consumer(consumers, k_split, ctas, k_blocks, rng):
    for stages in {max(2, k_split), 4, 12}:
        for tiles in (1, 4):
            Ring(stages, k_blocks, tiles, consumers, k_split, ctas).play(random.Random(int(rng.integers(1 << 32))))


MUTANTS = {
    "k-blocks given out anew in each tile": dict(consumers=2, k_split=2, ctas=1, owner=lambda ring, stage, k: k % 2),
    "the peer's consumers not waited for": dict(consumers=2, k_split=1, ctas=2, empty_arrivals=lambda ring: 2),
    "a stage released before it is read": dict(consumers=2, k_split=1, ctas=1, release_first=True),
    "the next stage asked about in this one's phase": dict(
        consumers=1, k_split=1, ctas=1, parity_ahead=lambda stage, phase: phase
    ),
    "the very next stage taken where K is split": dict(consumers=2, k_split=2, ctas=1, stages_ahead=lambda ring: 1),
    "one arrival too many expected": dict(consumers=2, k_split=2, ctas=1, empty_arrivals=lambda ring: 2),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_noticed(name, rng):
    def passes() -> bool:
        try:
            Ring(3, 9, 4, **MUTANTS[name]).play(random.Random(int(rng.integers(1 << 32))))
        except ProtocolError:
            return False
        return True

    assert not all(passes() for _ in range(50))
