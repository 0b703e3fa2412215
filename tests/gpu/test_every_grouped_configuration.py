"""Grouped kernels of every kind are right, not only those that are picked; one that hangs fails and stops no other."""

from __future__ import annotations

import launch_grouped_configurations as launcher
import pytest
from launch_configurations import launch_all
from launch_grouped_configurations import ARRANGEMENTS, job, problem
from products import build_all

from nvgemm.choice.completion import refinements
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import candidates

pytestmark = pytest.mark.gpu

WIDTHS = (16, 48, 112, 128, 144, 192, 256)
EXPECTED_M = (20, 4096)  # rows of a group that kernels are chosen for


def spread(layout: str) -> list[GemmConfig]:
    """All kinds of tiles, consumers and clusters with these widths, for few and for many rows of a group."""
    chosen = []
    for expected in (problem(layout, rows) for rows in EXPECTED_M):
        legal = list(candidates(expected, H100, WIDTHS))
        chosen += legal + [other for config in legal[::7] for other in refinements(expected, H100, config)]
    other_times = [  # that they begin the next tile
        config._replace(multiplies_ahead=not config.multiplies_ahead, k_unroll=1)
        for config in chosen[::2]
        if (config.num_consumers, config.k_split, config.in_flight) == (2, 1, 1)
    ]
    return list(dict.fromkeys(chosen + other_times))


@pytest.mark.parametrize("layout", ARRANGEMENTS)
def test_bits(layout):
    configs = spread(layout)
    build_all(configs)
    launch_all([job(layout, config) for config in configs], timeout=90, script=launcher.__file__)


@pytest.mark.parametrize("layout", [layout for layout in ARRANGEMENTS if layout.startswith("contiguous")])
def test_pairs_of_blocks_of_rows_are_among_them(layout):
    """Such a pair shares B where it is of one group."""
    assert {config.cluster_m for config in spread(layout)} == {1, 2}
