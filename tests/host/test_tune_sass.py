"""``nvgemm tune --sass`` and the policies of tables, with invented times in place of a GPU's."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest
from sass_compile import promotion_cubin
from test_tune import HOPPER, Sweep

from nvgemm import cli, settings, tune
from nvgemm.ahead import build_dense
from nvgemm.bench import policies
from nvgemm.bench.cold import Times
from nvgemm.bench.policies import AGAIN, ASIS, GRID, Ratios, ratios_of
from nvgemm.bench.workload import Workload
from nvgemm.choice import tables
from nvgemm.choice.cost import H100
from nvgemm.choice.problem import Problem
from nvgemm.runtime.gemm_kernel import resolve_policy
from nvgemm.sass import policy

pytest.importorskip("rich")
SHAPE = ("4096", "7168", "2048")
NOISE = 0.004
REAL = policies.PolicySweep


class PolicySweep:
    """`best` is 3 % faster here, and `SECOND` times as long as ``asis`` in another process."""

    best: ClassVar[str] = "s2e4p3-hd32"
    second: ClassVar[float] = 0.97
    searched: ClassVar[int] = 0

    def __init__(self, workload, blocks):
        self.gains = {ASIS: 1.0, AGAIN: 1 + NOISE, self.best: 0.97}

    def distinct(self, names):
        type(self).searched += 1
        return list(names)

    def times(self, names, rounds):
        return {name: Times(100 * self.gains.get(name, 1.02), 0.0) for name in names}

    def times_under_load(self, names, rounds):
        return self.times(names, rounds)


class SameProcess:
    """In place of a process of its own."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, workload, blocks, name, rounds):
        assert function is policies.confirm
        self.ratios = Ratios(PolicySweep.second, PolicySweep.second, NOISE)
        return self

    def result(self):
        return self.ratios


@pytest.fixture(autouse=True)
def _device(monkeypatch, tmp_path):
    monkeypatch.setattr(tune, "Sweep", Sweep)
    monkeypatch.setattr(policies, "PolicySweep", PolicySweep)
    monkeypatch.setattr(tune, "_fresh_process", SameProcess)
    monkeypatch.setattr(tune.driver, "require_hopper", lambda ordinal: HOPPER)
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path))
    monkeypatch.setattr(PolicySweep, "searched", 0)


def tuned(tmp_path, *more: str) -> dict:
    assert cli.main(["tune", "--shape", *SHAPE, "--candidates", "3", "--rounds", "1", *more]) == 0
    (product,) = json.loads((tmp_path / "tuned.json").read_text())["products"]
    return product


def test_the_winner_goes_into_the_table(tmp_path):
    product = tuned(tmp_path, "--sass")
    assert product["policy"] == PolicySweep.best
    assert (product["policy_cold"], product["policy_sustained"], product["policy_noise"]) == (0.97, 0.97, NOISE)
    assert PolicySweep.best in GRID


def test_what_another_process_does_not_confirm_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(PolicySweep, "second", 1 - NOISE / 2)
    assert tuned(tmp_path, "--sass")["policy"] == ASIS


def test_where_nothing_wins_the_compilers_bits_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(PolicySweep, "best", "of none")
    product = tuned(tmp_path, "--sass")
    assert (product["policy"], product["policy_cold"]) == (ASIS, 1.0)


def test_policies_are_added_to_a_table_and_not_searched_twice(tmp_path):
    Sweep.made.clear()
    assert "policy" not in tuned(tmp_path)
    for searched, more in ((1, []), (1, []), (2, ["--again"])):
        assert tuned(tmp_path, "--sass", *more)["policy"] == PolicySweep.best
        assert PolicySweep.searched == searched
    assert len(Sweep.made) == 2  # at first, and again


@pytest.mark.parametrize(
    ("cold", "sustained", "wins"),
    [(0.98, 0.98, True), (0.997, 0.997, False), (0.95, 1.01, False), (0.99, 1.003, False), (0.98, 1.003, True)],
)
def test_a_winner_is_faster_than_the_noise_and_slower_in_nothing(cold, sustained, wins):
    assert Ratios(cold, sustained, NOISE).wins is wins


def test_ratios_are_to_the_compilers_bits_and_noise_is_the_larger():
    cold = {ASIS: Times(10.0, 0), AGAIN: Times(9.9, 0), "e2": Times(9.0, 0)}
    load = {ASIS: Times(20.0, 0), AGAIN: Times(20.1, 0), "e2": Times(21.0, 0)}
    found = ratios_of(cold, load)
    assert found[ASIS][:2] == (1.0, 1.0)
    assert found["e2"] == pytest.approx((0.9, 1.05, 0.01))
    assert set(found) == {ASIS, "e2"}


def test_every_policy_of_the_grid_is_one():
    for name in GRID:
        policy.parse(name)
    assert len(set(GRID)) == len(GRID)


def test_equal_bytes_are_timed_once():
    raw = promotion_cubin(64)  # runs of 32: a window of 32 is no window
    sweep = object.__new__(REAL)
    sweep._kernels = {ASIS: type("", (), {"cubin": type("", (), {"raw": raw})})}
    kept = sweep.distinct(["e2p1", "e2p1-hd32", "s2e2", "e2p1-hd16"])
    assert kept == ["e2p1", "s2e2", "e2p1-hd16"]


def test_a_call_takes_the_tables_policy(tmp_path, monkeypatch):
    problem, path = Problem(4096, 7168, 2048, True), str(tmp_path / "table.json")
    products = [{"m": 4096, "n": 7168, "k": 2048, **tables.lookup(problem, [tables.H100], 132)._asdict()}]
    for product in products:
        product["policy"] = "e4"
    tables.write(tmp_path / "table.json", {**tables.table(tables.H100).device}, products)
    assert tables.policy(problem, [path, tables.H100], 132) == "e4"
    assert tables.policy(problem._replace(n=7176), [path, tables.H100], 132) is None
    assert tables.policy(problem, [path], 78) is None
    monkeypatch.setattr("nvgemm.ahead.model_here", lambda num_sms: ("", H100._replace(tables=(path,))))
    assert build_dense(4096, 7168, 2048, policy="tuned").meta["policy"] == "e4"
    assert build_dense(4096, 7168, 2048, policy="asis").meta["policy"] == "asis"


def test_a_table_without_the_policy_leaves_it_to_the_kind_of_kernel():
    config = tune.Sweep(Workload.parse("dense", SHAPE)).picked
    assert resolve_policy("tuned", config, "hd16") == "hd16"
    assert resolve_policy("tuned", config) in ("s2e2", "s2e4", "asis")
    assert resolve_policy("tuned", config._replace(begins_inside=True), "hd16") != "hd16"
    assert resolve_policy("none", config, "hd16") == "none"
