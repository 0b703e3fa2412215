"""Mutants of the kernel are still of this kernel, and compile: what they show is seen on a GPU."""

from __future__ import annotations

import pytest
from kernel_mutants import MUTANTS, with_changes, with_jitter

from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Problem
from nvgemm.runtime import specialize
from nvgemm.runtime.build import Cubin, build

CONFIGS = [
    next(config for config in candidates(Problem(200, 136, 2304, True)) if suits(config))
    for suits in (
        lambda c: (c.block_m, c.cluster_size) == (64, 1) and c.k_split == 2,
        lambda c: (c.block_m, c.cluster_m) == (128, 2),
        lambda c: c.cluster_k == 2,
    )
]


def compiled(folder, monkeypatch, config) -> Cubin:
    monkeypatch.setattr(specialize, "kernels_dir", lambda: folder)
    return build("fp8_gemm", config.constants())


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_compiles(name, tmp_path, cache_dir, monkeypatch):
    _, mistake, slow = MUTANTS[name]
    folder = with_changes(tmp_path, slow, mistake)
    assert compiled(folder, monkeypatch, CONFIGS[0]).meta["spilled_bytes"] == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.block_m}×{c.block_n}")
def test_delays_spill_nothing(config, tmp_path, cache_dir, monkeypatch):
    meta = compiled(with_jitter(tmp_path), monkeypatch, config).meta
    assert (meta["spilled_bytes"], meta["complaints"]) == (0, [])
