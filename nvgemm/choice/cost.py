"""`predict`: clocks that a configuration would take for a product, by a model of waves, bytes and latency."""

from __future__ import annotations

import math
from typing import NamedTuple

from nvgemm.choice import tables
from nvgemm.choice.config import BLOCK_K, GemmConfig, num_sfb
from nvgemm.choice.problem import Problem, align, ceil_div, traffic_bytes

# Clocks, fitted to timings of 1,100 configurations of 57 shapes on an H100 (docs/performance.md).
H100_CLOCK = 1.755e9  # Hz: what turns the model's clocks to seconds
LAUNCH = 6700  # before the first tile and after the last
CLUSTER_LAUNCH = 6000  # more, where CTAs start in pairs
CHAIN = 60  # wait for a stage, latency of the multiplication, hand the stage back
SMALL_PAIR = 1.5  # share of time of a tile smaller than PAIRED_TILE whose cluster multicasts, over one that is alone
PAIRED_TILE = 128 * 176
EPILOGUE = 584
EPILOGUE_PER_ELEMENT = 0.104
SUM_PER_COLUMN = 6.25  # to add what another consumer of a split K has of a column of 64 rows
CLUSTER_SUM = 500  # where the CTAs of a cluster divide K: until they have met, and have the others' sums
CLUSTER_SUM_PER_ELEMENT = 1.3  # that a CTA sends
TENSOR_SHARE = 1.23  # clocks that a multiplication takes over its ideal
WIDE_SHARE = 1.16  # the same in tiles of 256 columns
SCALE_SHARE = 0.008  # more for each further scale of B in a tile's columns and each consumer that reads all of them


class Model(NamedTuple):
    """What the choice needs to know of a device; the defaults are an H100 SXM's.

    Attributes
    ----------
    tables : tuple of str
        Paths of tables of measured blocks; the first that has a product decides.
    """

    num_sms: int = 132
    l2_bytes_per_clock_sm: float = 61.0
    l2_bytes_per_clock: float = 6920.0  # into all SMs together
    dram_bytes_per_clock: float = 1930.0
    tables: tuple[str, ...] = (tables.H100,)


H100 = Model()


def predict(config: GemmConfig, problem: Problem, device: Model = H100) -> float:
    """Predicted clocks of one launch: waves of tiles against the bytes from memory."""
    k_blocks, m, groups = ceil_div(config.shape_k, BLOCK_K * config.cluster_k), problem.group_rows, problem.groups
    tiles = groups * config.num_tiles(m) * config.cluster_k  # and parts of tiles
    grid = min(tiles, device.num_sms // config.cluster_size * config.cluster_size)
    rows = config.block_m / config.num_consumers * config.k_split  # that one consumer stores
    store = EPILOGUE + (EPILOGUE_PER_ELEMENT * rows + SUM_PER_COLUMN * (config.k_split - 1)) * config.block_n
    if config.cluster_k > 1:
        store += CLUSTER_SUM + CLUSTER_SUM_PER_ELEMENT * _sent(config)
    work = ceil_div(tiles, grid) * (k_blocks * _k_block(config, grid, device) + store)
    moved = groups * (traffic_bytes(m, config.shape_n, config.shape_k) + _read_twice(config))
    start = CLUSTER_LAUNCH * (config.cluster_m * config.cluster_n - 1)
    return _overlap(work, moved / device.dram_bytes_per_clock) + LAUNCH + start


def _read_twice(config: GemmConfig) -> int:
    """Bytes of the next group's B that a group's last tiles reach into; the L2 keeps those that are wanted again."""
    reached = align(config.shape_n, config.block_n * config.cluster_n) - config.shape_n
    return reached * config.shape_k if config.reads_b_once else 0


def _sent(config: GemmConfig) -> float:
    """Sums that each CTA of a cluster that divides K sends to the others."""
    return config.block_m * config.block_n * (1 - 1 / config.cluster_k)


def _k_block(config: GemmConfig, grid: int, device: Model) -> float:
    """Clocks that one CTA takes for 128 of K: tensor cores, loads from the L2, and a consumer's dependent chain."""
    slices = config.block_m // 64
    multiply = 2 * max(config.block_n, 16)  # clocks of m64nNk128 with the tensor cores to itself
    # Neighbours on a TPC ask the L2 once for rows of B that both want. Of narrower tiles the fitted bandwidths know it.
    askers_b = 2 if config.block_n == 256 and config.cluster_n == 1 else config.cluster_m
    loaded = (config.block_m / config.cluster_n + config.block_n / askers_b) * BLOCK_K
    scales = (num_sfb(config.block_n) - 1) * config.k_split
    share = WIDE_SHARE if config.block_n == 256 else TENSOR_SHARE
    tensor = share * slices * multiply * (1 + SCALE_SHARE * scales)
    l2 = loaded / min(device.l2_bytes_per_clock_sm, device.l2_bytes_per_clock / grid)
    promotion = config.block_n / 2 if config.in_flight == 1 else 0
    chain = slices / config.num_consumers * (multiply + promotion + CHAIN)
    is_small_pair = config.cluster_m * config.cluster_n == 2 and config.block_m * config.block_n < PAIRED_TILE
    return _overlap(tensor, l2, chain) * (SMALL_PAIR if is_small_pair else 1)


def _overlap(*clocks: float) -> float:
    """Of activities side by side: the longest, and a little more where others are nearly as long."""
    return math.sqrt(math.sqrt(sum([x * x * x * x for x in clocks])))
