"""compute-sanitizer finds nothing: no access out of bounds, no race in shared memory, no misused barrier."""

from __future__ import annotations

import shutil

import launch_grouped
import pytest
from launch_configurations import job, launch_all
from products import build_all

from nvgemm.choice.completion import orders
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Problem

pytestmark = pytest.mark.gpu

SHAPE = (200, 136, 2288)  # 18 k-blocks: the ring of stages is used over and over
KINDS = {  # block_m, k_split, cluster_m, cluster_n, cluster_k
    "64 rows": (64, 1, 1, 1, 1),
    "K split by 2": (64, 2, 1, 1, 1),
    "128 rows": (128, 1, 1, 1, 1),
    "128 rows, multiplied in turn": (128, 1, 1, 1, 1),
    "cluster along M": (128, 1, 2, 1, 1),
    "cluster along N, K split": (64, 2, 1, 2, 1),
    "cluster that divides K": (128, 1, 1, 1, 2),
    "cluster that divides K, K split": (64, 2, 1, 1, 2),
}


def config(name: str) -> GemmConfig:
    legal = [config for config in candidates(Problem(*SHAPE, True)) if config.block_n in (48, 64, 112)]
    found = next(c for c in legal if (c.block_m, c.k_split, c.cluster_m, c.cluster_n, c.cluster_k) == KINDS[name])
    return orders(Problem(*SHAPE, True), H100, found)[0] if "in turn" in name else found


LAYOUTS = ("contiguous-64", "psum-64", "offsets", "masked", "batched")


def command(tool: str) -> tuple[str, ...]:
    program = shutil.which("compute-sanitizer")
    if program is None:
        pytest.skip("compute-sanitizer is not on PATH (it comes with the CUDA toolkit)")
    # 64: two for each stage and more; left to itself the tool may count too few of them.
    return program, "--tool", tool, "--num-cuda-barriers", "64", "--error-exitcode", "9"


def sanitize(tool: str, configs: list[GemmConfig]) -> str:
    under = command(tool)
    build_all(configs)
    return launch_all([job(config, SHAPE[0], num_sms=4) for config in configs], timeout=60, command=under)


def sanitize_grouped(tool: str, layouts: tuple[str, ...]) -> str:
    under = command(tool)
    for layout in layouts:
        launch_grouped.launch(layout)  # builds what is not cached
    return launch_all(list(layouts), timeout=60, command=under, script=launch_grouped.__file__)


@pytest.mark.parametrize("tool", ["memcheck", "synccheck"])
def test_finds_nothing(tool):
    assert "ERROR SUMMARY: 0 errors" in sanitize(tool, [config(name) for name in KINDS])


@pytest.mark.parametrize("name", KINDS)
def test_finds_no_race(name):
    assert "RACECHECK SUMMARY: 0 hazards" in sanitize("racecheck", [config(name)])


@pytest.mark.parametrize("tool", ["memcheck", "synccheck"])
def test_finds_nothing_in_grouped_products(tool):
    assert "ERROR SUMMARY: 0 errors" in sanitize_grouped(tool, LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_finds_no_race_in_grouped_products(layout):
    assert "RACECHECK SUMMARY: 0 hazards" in sanitize_grouped("racecheck", (layout,))
