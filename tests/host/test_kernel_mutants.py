"""Mutants of the kernel are still of this kernel, and compile: what they show is seen on a GPU."""

from __future__ import annotations

import pytest
from kernel_mutants import KINDS, MUTANTS, of, with_changes, with_jitter

from nvgemm.runtime import specialize
from nvgemm.runtime.build import Cubin, build


def compiled(folder, monkeypatch, config) -> Cubin:
    monkeypatch.setattr(specialize, "kernels_dir", lambda: folder)
    return build("fp8_gemm", config.constants())


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_compiles(name, tmp_path, cache_dir, monkeypatch):
    kind, mistake, slow = MUTANTS[name]
    folder = with_changes(tmp_path, slow, mistake)
    assert compiled(folder, monkeypatch, of(kind)).meta["spilled_bytes"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_delays_spill_nothing(kind, tmp_path, cache_dir, monkeypatch):
    meta = compiled(with_jitter(tmp_path), monkeypatch, of(kind)).meta
    assert (meta["spilled_bytes"], meta["complaints"]) == (0, [])
