"""The ring of stages in kernels_cu/pipeline.cuh, played through with random interleavings of all who take part.

Every k-block of every tile must reach its consumer whole, every ticket all who ask for it, and nobody may wait for
ever. Mutants of the protocol must not pass: each is a mistake that a GPU shows as a rare hang or a wrong sum.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import numpy as np
import pytest
from mbarrier_model import ProtocolError
from ring_model import Ring

from nvgemm.choice.completion import MAX_STAGES
from nvgemm.runtime.sources import kernels_dir

NUM_TICKETS = int(
    re.findall(r"NUM_TICKETS = HAS_SEGMENTS \? (\d+) : 1;", (kernels_dir() / "grouping.cuh").read_text())[0]
)
KINDS = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (4, 4, 1), (2, 1, 2), (2, 2, 2), (4, 4, 2)]  # consumers, k_split, ctas


def of(rng) -> random.Random:
    return random.Random(int(rng.integers(1 << 32)))


@pytest.mark.parametrize(("consumers", "k_split", "ctas"), KINDS)
@pytest.mark.parametrize("k_blocks", [1, 3, 4, 9, 17])
def test_every_k_block_reaches_its_consumer(consumers, k_split, ctas, k_blocks, rng):
    for stages in {max(2, k_split), 4, 12}:
        for tiles in (1, 4, 4):
            Ring(stages, k_blocks, tiles, consumers, k_split, ctas).play(of(rng))


@pytest.mark.parametrize(("consumers", "k_split", "ctas"), KINDS)
@pytest.mark.parametrize("k_blocks", [1, 2, 5])
def test_every_ticket_reaches_all(consumers, k_split, ctas, k_blocks, rng):
    """Some consumers skip some tiles. With one k-block to a tile, stages are of as many tiles as can be."""
    for stages in (max(2, k_split), 4, *[MAX_STAGES] * 5):
        Ring(stages, k_blocks, 40, consumers, k_split, ctas, NUM_TICKETS, skips=some(rng)).play(of(rng))


def some(rng) -> Callable[..., bool]:
    skipped = set(zip(*np.nonzero(rng.random((2, 2, 40)) < 0.4), strict=True))  # CTA, row group, tile
    return lambda *place: place in skipped


MUTANTS = {
    "k-blocks given out anew in each tile": dict(consumers=2, k_split=2, ctas=1, owner=lambda ring, stage, k: k % 2),
    "the peer's consumers not waited for": dict(consumers=2, k_split=1, ctas=2, empty_arrivals=lambda ring: 2),
    "a stage released before it is read": dict(consumers=2, k_split=1, ctas=1, release_first=True),
    "the next stage asked about in this one's phase": dict(
        consumers=1, k_split=1, ctas=1, parity_ahead=lambda stage, phase: phase
    ),
    "the very next stage taken where K is split": dict(consumers=2, k_split=2, ctas=1, stages_ahead=lambda ring: 1),
    "one arrival too many expected": dict(consumers=2, k_split=2, ctas=1, empty_arrivals=lambda ring: 2),
    "the stage after a skipped tile not looked for": dict(
        consumers=2, k_split=1, ctas=1, skips=lambda cta, row, tile: tile == 1, locates_after_skip=False
    ),
    "lanes of the scales that wait by themselves meet too late": dict(
        consumers=1, k_split=1, ctas=1, lanes_meet_first=False
    ),
}


def is_noticed(rng, stages: int, k_blocks: int, tiles: int, *, plays: int = 300, **mutant) -> bool:
    try:
        for _ in range(plays):
            Ring(stages, k_blocks, tiles, **mutant).play(of(rng))
    except ProtocolError:
        return True
    return False


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_noticed(name, rng):
    assert is_noticed(rng, 3, 9, 4, **MUTANTS[name])


@pytest.mark.parametrize("stages", [4, MAX_STAGES])
@pytest.mark.parametrize(("consumers", "k_split", "ctas"), KINDS)
def test_the_least_number_of_tickets(consumers, k_split, ctas, stages, rng):
    """With one k-block to a tile the last of a split K's consumers is as many tiles behind as there are stages, and
    K_SPLIT − 1."""
    least = stages + k_split
    assert least <= NUM_TICKETS
    kind = dict(consumers=consumers, k_split=k_split, ctas=ctas)
    assert not is_noticed(rng, stages, 1, 40, plays=20, tickets=least, **kind)
    assert is_noticed(rng, stages, 1, 40, tickets=least - 1, **kind)
    assert is_noticed(rng, stages, 1, 40, tickets=2, **kind)
