"""`select_config`: measured blocks, else those that a model of waves, bytes and latency finds fastest. No GPU."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from nvgemm.choice import tables
from nvgemm.choice.completion import blocks_in, complete
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100, Model, predict
from nvgemm.choice.legal import CLUSTERS, CONSUMERS, is_legal, registers_allow
from nvgemm.choice.problem import Grouping, Overlap, Problem

BLOCKS_N = (8, 16, 32, 48, 64, 96, 112, 128, 144, 160, 176, 192, 256)
MOST_WAVES = 8  # of tiles smaller than this; more were predicted fastest for 7 of 20,000 shapes, by 3 % at most
SMALL_TILE = 128 * 96
LONG_GROUP = 8  # tiles down, in the mean
CLUSTERED = {2: 1.0, 4: 0.97}  # share of the SMs that run clusters of so many at once: a GPC of 18 has 4 of 4 (H100)


class Choice(NamedTuple):
    """A configuration, and what a table has of the product, where that decided it."""

    config: GemmConfig
    measured: tables.Measured | None


def select_config(problem: Problem, device: Model = H100) -> GemmConfig:
    """The measured configuration for `problem` on `device`, else the one with the least predicted time."""
    return select(problem, device).config


@lru_cache(maxsize=65536)
def select(problem: Problem, device: Model = H100) -> Choice:
    """The same, and what it goes by."""
    measured = tables.lookup(problem, device.tables, device.num_sms)
    config = measured and _of_table(measured.blocks, problem, device)
    return Choice(config, measured) if config else Choice(_of_model(problem, device), None)


def _of_model(problem: Problem, device: Model) -> GemmConfig:
    if problem.grouping is not Grouping.DENSE:
        return likeliest(problem, device)
    alike = likeliest(problem._replace(m=tables.bucket(problem.m), overlap=Overlap.ALONE), device)
    config = complete(problem, device, blocks_in(alike))
    assert config is not None  # with as many tiles what suits the one suits the other
    return config


@lru_cache(maxsize=4096)
def likeliest(problem: Problem, device: Model) -> GemmConfig:
    """The configuration with the least predicted time."""
    blocks = (each._replace(raster_m=1) for each in _searched(problem, device, BLOCKS_N))  # no time depends on it
    weighed = filter(None, (complete(problem, device, each) for each in blocks))
    best = min(weighed, key=lambda config: predict(config, problem, device))
    config = complete(problem, device, blocks_in(best)._replace(raster_m=None))
    assert config is not None
    return config


def _of_table(blocks: tables.Blocks, problem: Problem, device: Model) -> GemmConfig | None:
    """The configuration of measured `blocks`; None where they do not suit `problem` after all."""
    if is_legal(blocks):
        return complete(problem, device, blocks)
    warnings.warn(f"a table of measured blocks has some that no kernel is built for: {blocks}", stacklevel=2)
    return None


def candidates(problem: Problem, device: Model = H100, blocks_n: Sequence[int] = BLOCKS_N) -> Iterator[GemmConfig]:
    """Every legal configuration with these widths of tiles that could be the fastest."""
    completed = (complete(problem, device, blocks) for blocks in _searched(problem, device, blocks_n))
    yield from filter(None, completed)


def _searched(problem: Problem, device: Model, blocks_n: Sequence[int]) -> Iterator[tables.Blocks]:
    """Blocks of these widths that may suit `problem`."""
    is_contiguous = problem.grouping is Grouping.CONTIGUOUS
    for block_m, num_consumers, k_split in CONSUMERS:
        if block_m > 64 and problem.group_rows <= block_m // 2:
            continue
        for block_n in blocks_n:
            if block_n >= problem.n + 8 or not registers_allow(block_m, block_n, num_consumers, k_split):
                continue
            tiles = problem.tiles(block_m, block_n)
            if tiles > MOST_WAVES * device.num_sms and block_m * block_n < SMALL_TILE and 2 * block_n <= problem.n:
                continue
            for cluster_m, cluster_n, cluster_k in CLUSTERS:
                if cluster_k > 1 and tiles * cluster_k > CLUSTERED[cluster_k] * device.num_sms:
                    continue
                if cluster_m > 1 and is_contiguous and problem.group_rows < LONG_GROUP * block_m:
                    continue  # too many of the pairs would be of two groups
                yield tables.Blocks(block_m, block_n, num_consumers, k_split, cluster_m, cluster_n, None, cluster_k)
