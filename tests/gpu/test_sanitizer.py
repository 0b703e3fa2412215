"""compute-sanitizer finds nothing: no access out of bounds, no race in shared memory, no misused barrier."""

from __future__ import annotations

import shutil

import pytest
from launch_configurations import job, launch_all
from products import build_all

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Problem

pytestmark = pytest.mark.gpu

SHAPE = (200, 136, 400)
KINDS = ((128, 1, 2, 1), (64, 2, 1, 2), (64, 1, 1, 1))  # block_m, k_split, cluster_m, cluster_n


def chosen() -> list[GemmConfig]:
    def kind(config: GemmConfig) -> tuple[int, ...]:
        return config.block_m, config.k_split, config.cluster_m, config.cluster_n

    legal = [config for config in candidates(Problem(*SHAPE, True)) if config.block_n in (48, 64, 112)]
    return [next(config for config in legal if kind(config) == each) for each in KINDS]


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_finds_nothing(tool):
    program = shutil.which("compute-sanitizer")
    if program is None:
        pytest.skip("compute-sanitizer is not on PATH (it comes with the CUDA toolkit)")
    build_all(chosen())
    command = (program, "--tool", tool, "--error-exitcode", "9")
    output = launch_all([job(config, SHAPE[0], num_sms=4) for config in chosen()], timeout=60, command=command)
    assert "ERROR SUMMARY: 0 errors" in output or "RACECHECK SUMMARY: 0 hazards" in output, output
