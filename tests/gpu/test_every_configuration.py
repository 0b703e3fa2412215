"""Configurations of every kind are right, not only those that are picked; one that hangs fails and stops no other."""

from __future__ import annotations

import pytest
from launch_configurations import job, launch_all
from products import build_all

from nvgemm.bench.sweep import WIDTHS
from nvgemm.choice.completion import orders, refinements
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Overlap, Problem

pytestmark = pytest.mark.gpu

SHAPE = (600, 1096, 1936)  # no block divides M, N or K, and clusters have odd tails
BLOCKS_N = (8, 64, 112, 128, 144, 176, 192, 256)
NARROWED = (32, 80)  # less 8: 24 and 72, which cross 128-blocks at every position
OTHERS = [width for width in WIDTHS if width not in BLOCKS_N and width + 8 not in NARROWED]  # that may be tuned to
NARROW = (190, 264, 1936)  # few tiles, whose k-blocks a cluster divides
FEW_SMS = 10  # each CTA computes several tiles, so that the ring and its phases go on from one to the next


def spread() -> list[GemmConfig]:
    """All kinds of blocks, consumers, K splits and clusters with these widths, and some with each other one."""
    legal = list(candidates(Problem(*SHAPE, True)))
    chosen = [config for config in legal if config.block_n in BLOCKS_N]
    of_two = [config for config in legal if config.block_n in NARROWED and config.cluster_m == 1]
    of_two = [config._replace(block_n=config.block_n - 8, k_unroll=1, in_flight=1) for config in of_two]
    ordered = [order for config in chosen + of_two for order in orders(Problem(*SHAPE, True), H100, config)]
    refined = [other for config in ordered[::9] for other in refinements(Problem(*SHAPE, True), H100, config)]
    ahead = [
        config._replace(multiplies_ahead=True, k_unroll=1)
        for config in ordered
        if (config.num_consumers, config.k_split, config.cluster_k, config.in_flight) == (2, 1, 1, 1)
    ]
    others = list(candidates(Problem(*SHAPE, True), H100, OTHERS))[::3]
    return list(dict.fromkeys(ordered + refined + ahead + others))


def fewest_stages() -> list[GemmConfig]:
    """The shortest ring for each kind, and rasters that do not divide the tiles."""
    return [
        config._replace(num_stages=max(2, config.k_split), num_d_strips=1, raster_m=3)
        for config in spread()
        if config.block_n in (24, 112, 128, 256)
    ]


def divided() -> list[GemmConfig]:
    """Clusters that divide K, of all kinds of tiles."""
    legal = candidates(Problem(*NARROW, True))
    legal = [config for config in legal if config.cluster_k > 1 and config.block_n in (*BLOCKS_N, *NARROWED)]
    others = [config for config in candidates(Problem(*NARROW, True), H100, OTHERS) if config.cluster_k > 1]
    ordered = [order for config in legal for order in orders(Problem(*NARROW, True), H100, config)]
    return list(dict.fromkeys(ordered + others[::3]))


def in_parts(configs: list[GemmConfig], size: int = 48) -> list[list[GemmConfig]]:
    return [configs[first : first + size] for first in range(0, len(configs), size)]


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build_all([*spread(), *fewest_stages(), *divided()])


@pytest.mark.parametrize("num_sms", [FEW_SMS, 1000])
@pytest.mark.parametrize("kind", ["spread", "fewest_stages"])
def test_bits(kind, num_sms):
    for part in in_parts({"spread": spread, "fewest_stages": fewest_stages}[kind]()):
        launch_all([job(config, SHAPE[0], num_sms=num_sms) for config in part], timeout=60)


@pytest.mark.parametrize("num_sms", [FEW_SMS, 1000])
@pytest.mark.parametrize("m", [1, 60, 190])
def test_clusters_that_divide_k(m, num_sms):
    """With few SMs a cluster has several tiles, and the sums of the one are in the place of the last one's."""
    launch_all([job(config, m, num_sms=num_sms) for config in divided()], timeout=60)


@pytest.mark.parametrize("overlap", [Overlap.OVERLAPPED, Overlap.STATIC_WEIGHTS])
def test_launches_that_begin_early(overlap):
    """All kinds of clusters: a CTA's first copies may come before the peer has announced them."""
    whole = [config._replace(overlap=overlap) for config in spread() if config.block_n == 112]
    parts = [config._replace(overlap=overlap) for config in divided()[::5]]
    build_all([*whole, *parts])
    launch_all([job(config, SHAPE[0]) for config in whole] + [job(config, NARROW[0]) for config in parts], timeout=60)


@pytest.mark.parametrize("m", [1, 65, 128])
def test_fewer_rows_than_the_configuration_is_for(m):
    configs = [config for config in spread() if config.block_n in (8, 72, 192)]
    for part in in_parts(configs):
        launch_all([job(config, m, num_sms=FEW_SMS) for config in part], timeout=60)
