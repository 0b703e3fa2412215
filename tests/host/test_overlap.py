"""Programmatic dependent launch: which calls begin early, and what their kernels are."""

from __future__ import annotations

import itertools

import pytest

import nvgemm
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Grouping, Overlap, Problem
from nvgemm.runtime import overlap
from nvgemm.runtime.gemm_kernel import build_config

ALONE, OVERLAPPED, STATIC_WEIGHTS = Overlap


@pytest.fixture(autouse=True)
def _usual(monkeypatch):
    monkeypatch.setattr(overlap, "usual", ALONE)


@pytest.mark.parametrize(
    ("usual", "pdl", "weights_static", "expected"),
    [
        (False, None, False, ALONE),
        (False, None, True, ALONE),
        (False, False, True, ALONE),
        (False, True, False, OVERLAPPED),
        (False, True, True, STATIC_WEIGHTS),
        (True, None, False, OVERLAPPED),
        (True, None, True, STATIC_WEIGHTS),
        (True, False, False, ALONE),
    ],
)
def test_what_a_call_says_comes_before_what_is_set(usual, pdl, weights_static, expected):
    nvgemm.set_pdl(usual)
    assert nvgemm.get_pdl() is usual
    assert overlap.of(pdl, weights_static) is expected


@pytest.mark.parametrize("value", [1, 0, None, "yes"])
def test_no_bool_is_refused(value):
    with pytest.raises(TypeError, match="enabled: expected a bool, got"):
        nvgemm.set_pdl(value)
    if value is not None:
        with pytest.raises(TypeError, match="pdl: expected a bool, got"):
            overlap.of(value, False)
    with pytest.raises(TypeError, match="weights_static: expected a bool, got"):
        overlap.of(None, value)


PROBLEMS = [
    Problem(16, 576, 7168, True),  # a cluster that divides K
    Problem(64, 24576, 1536, True),  # consumers that do
    Problem(256, 4096, 7168, True),  # two multiplications under way
    Problem(2048, 7168, 16384, True),  # a cluster that shares B
    Problem(3072, 2304, 7168, True),  # one that shares A
    Problem(300, 520, 400, True, Grouping.BATCHED, 5),
    Problem(4096, 4096, 2048, True, Grouping.MASKED, 6, expected_m=20),
    Problem(8192, 4096, 2048, True, Grouping.CONTIGUOUS, 4, 128),
    Problem(8192, 4096, 2048, True, Grouping.OFFSETS, 64, expected_m=128),
]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_kernels_that_begin_early_are_as_good_as_others(problem, cache_dir):
    metas = [build_config(select_config(problem._replace(overlap=how)), "asis").meta for how in Overlap]
    for meta in metas:
        assert (meta["spilled_bytes"], meta["stack_bytes"], meta["complaints"]) == (0, 0, [])
    assert len({meta["registers"] for meta in metas}) == 1


def test_the_blocks_are_those_of_other_calls():
    for problem, how in itertools.product(PROBLEMS, Overlap):
        config = select_config(problem._replace(overlap=how))
        assert config.overlap is how
        assert config._replace(overlap=ALONE) == select_config(problem)
