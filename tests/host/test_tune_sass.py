"""``nvgemm tune --sass`` and the policies of tables, with invented times in place of a GPU's."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
from sass_compile import promotion_cubin
from test_tune import HOPPER, Sweep

from nvgemm import cli, settings, tune
from nvgemm.ahead import build_dense
from nvgemm.bench import policies
from nvgemm.bench.cold import Times
from nvgemm.bench.policies import AGAIN, ASIS, GRID, Ratios, ratios_of
from nvgemm.choice import tables
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import select, select_config
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime import making, nvrtc, nvrtc_library
from nvgemm.runtime.gemm_kernel import build_config
from nvgemm.runtime.making import Making
from nvgemm.sass import policy

pytest.importorskip("rich")
SHAPE = ("4096", "7168", "2048")
PROBLEM = Problem(4096, 7168, 2048, True)
E2 = Making("e2")
NOISE = 0.004
REAL = policies.PolicySweep


class PolicySweep:
    """`best` is 3 % faster here, and `SECOND` times as long as ``asis`` in another process."""

    best: ClassVar[Making] = Making("s2e4p3-hd32")
    second: ClassVar[float] = 0.97
    searched: ClassVar[int] = 0

    def __init__(self, workload, blocks):
        self.gains = {ASIS: 1.0, AGAIN: 1 + NOISE, self.best: 0.97}

    def distinct(self, ways):
        type(self).searched += 1
        return list(ways)

    def times(self, ways, rounds):
        return {made: Times(100 * self.gains.get(made, 1.02), 0.0) for made in ways}

    def times_under_load(self, ways, rounds):
        return self.times(ways, rounds)


class SameProcess:
    """In place of a process of its own."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, workload, blocks, made, rounds):
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
    assert product["policy"] == PolicySweep.best.policy
    assert (product["policy_cold"], product["policy_sustained"], product["policy_noise"]) == (0.97, 0.97, NOISE)
    assert PolicySweep.best.policy in GRID


def test_what_another_process_does_not_confirm_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(PolicySweep, "second", 1 - NOISE / 2)
    assert tuned(tmp_path, "--sass")["policy"] == "asis"


def test_where_nothing_wins_the_compilers_bits_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(PolicySweep, "best", Making("of none"))
    product = tuned(tmp_path, "--sass")
    assert (product["policy"], product["policy_cold"]) == ("asis", 1.0)


def test_policies_are_added_to_a_table_and_not_searched_twice(tmp_path):
    Sweep.made.clear()
    assert "policy" not in tuned(tmp_path)
    for searched, more in ((1, []), (1, []), (2, ["--again"])):
        assert tuned(tmp_path, "--sass", *more)["policy"] == PolicySweep.best.policy
        assert PolicySweep.searched == searched
    assert len(Sweep.made) == 2  # at first, and again


@pytest.mark.parametrize(
    ("cold", "sustained", "wins"),
    [(0.98, 0.98, True), (0.997, 0.997, False), (0.95, 1.01, False), (0.99, 1.003, False), (0.98, 1.003, True)],
)
def test_a_winner_is_faster_than_the_noise_and_slower_in_nothing(cold, sustained, wins):
    assert Ratios(cold, sustained, NOISE).wins is wins


def test_ratios_are_to_the_compilers_bits_and_noise_is_the_larger():
    cold = {ASIS: Times(10.0, 0), AGAIN: Times(9.9, 0), E2: Times(9.0, 0)}
    load = {ASIS: Times(20.0, 0), AGAIN: Times(20.1, 0), E2: Times(21.0, 0)}
    found = ratios_of(cold, load)
    assert found[ASIS][:2] == (1.0, 1.0)
    assert found[E2] == pytest.approx((0.9, 1.05, 0.01))
    assert set(found) == {ASIS, E2}


def test_every_policy_of_the_grid_is_one():
    for name in GRID:
        policy.parse(name)
    assert len(set(GRID)) == len(GRID)


def test_equal_bytes_are_timed_once(monkeypatch):
    raw = promotion_cubin(64)  # runs of 32: a window of 32 is no window
    monkeypatch.setattr(policies, "build_config", lambda config, policy, compiler: SimpleNamespace(raw=raw))
    sweep = object.__new__(REAL)
    sweep._config = None
    kept = sweep.distinct(map(Making, ["e2p1", "e2p1-hd32", "s2e2", "e2p1-hd16"]))
    assert kept == [Making("e2p1"), Making("s2e2"), Making("e2p1-hd16")]


def test_every_compiler_that_is_installed_is_tried(monkeypatch):
    monkeypatch.setattr(nvrtc, "is_installed", lambda wanted: False)
    assert {made.compiler for made in policies.ways()} == {None}
    monkeypatch.setattr(nvrtc, "is_installed", lambda wanted: True)
    assert len(policies.ways()) == 2 * len(GRID)


def test_the_compiler_of_the_winner_goes_into_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(nvrtc, "is_installed", lambda wanted: True)
    monkeypatch.setattr(PolicySweep, "best", Making("s2e8", "12.8"))
    product = tuned(tmp_path, "--sass")
    assert (product["policy"], product["compiler"]) == ("s2e8", "12.8")


@pytest.fixture
def table(tmp_path) -> str:
    """Of one product, measured with a compiler that is not installed here."""
    found = tables.lookup(PROBLEM, [tables.H100], 132)
    product = {"m": 4096, "n": 7168, "k": 2048, **found.blocks._asdict(), "policy": "e4", "compiler": "1.2"}
    tables.write(tmp_path / "table.json", {**tables.table(tables.H100).device}, [product])
    return str(tmp_path / "table.json")


def made(policy: str, path: str, **changes) -> Making:
    config, measured = select(PROBLEM, H100._replace(tables=(path,)))
    return making.making(policy, config._replace(**changes), measured)


def test_a_call_takes_the_tables_policy_and_compiler(table, monkeypatch):
    monkeypatch.setattr(nvrtc, "is_installed", lambda wanted: wanted == "1.2")
    assert made("tuned", table) == ("e4", "1.2")
    assert made("none", table) == ("none", None)
    assert made("tuned", table, begins_inside=True).policy != "e4"  # measured with tiles that divide the rows
    assert tables.lookup(PROBLEM, [table], 78) is None


def test_a_missing_compiler_is_told_once_and_the_kinds_policy_taken(table, monkeypatch, capsys):
    monkeypatch.setattr(making, "_told", False)
    for _ in range(3):
        assert made("tuned", table) == (making.usual(select_config(PROBLEM)), None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "NVRTC 1.2" in line
    assert "pip install 'nvgemm[nvrtc12]'" in line


def test_a_compiler_that_the_user_names_is_taken_without_a_word(table, monkeypatch, capsys):
    monkeypatch.setattr(making, "_told", False)
    monkeypatch.setattr(settings, "nvrtc", nvrtc.version())
    assert made("tuned", table).compiler is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("policy", ["e4", None])
def test_where_nothing_is_compiled_the_way_is_taken_that_the_cache_has(table, monkeypatch, policy):
    """It may come from where the compiler of the table was installed, or from where it was not."""
    config, usual = select_config(PROBLEM), making.usual(select_config(PROBLEM))
    build_config(config, policy or usual)
    monkeypatch.setattr(settings, "compile", "never")
    found = made("tuned", table)
    assert found == (("e4", "1.2") if policy else (usual, None))
    assert build_config(config, *found).meta["policy"] == (policy or usual)


def test_a_policy_goes_with_the_blocks_that_it_was_measured_for():
    """Groups that begin at 64 rows share the entry of those that begin at 128, but not its tiles."""
    problem = Problem(34154, 4096, 2048, True, Grouping.CONTIGUOUS, 4, 128, 8576)
    measured = tables.lookup(problem, [tables.H100], 132)
    assert making.choose(problem, "tuned", H100)[1].policy == measured.policy != making.usual(select_config(problem))
    config, found = making.choose(problem._replace(alignment=64), "tuned", H100)
    assert config.block_m == 64
    assert found.policy == making.usual(config)


def test_a_hint_needs_no_compiler_at_all(table, monkeypatch, capsys):
    monkeypatch.setattr(making, "_told", False)
    monkeypatch.setattr(nvrtc_library, "_in_wheels", lambda major: iter(()))
    nvrtc._find.cache_clear()
    assert made("tuned", table).compiler is None
    assert "NVRTC 1.2" in capsys.readouterr().err


def test_a_kernel_is_built_with_the_tables_policy(table, monkeypatch):
    text = Path(table).read_text().replace(', "compiler": "1.2"', "")
    Path(table).write_text(text)
    monkeypatch.setattr("nvgemm.ahead.model_here", lambda num_sms: ("", H100._replace(tables=(table,))))
    assert build_dense(4096, 7168, 2048, policy="tuned").meta["policy"] == "e4"
    assert build_dense(4096, 7168, 2048, policy="asis").meta["policy"] == "asis"


@pytest.mark.parametrize(
    ("policy", "kind"),
    [
        ("asis", {"block_m": 64, "num_consumers": 1}),
        ("asis", {"block_m": 64, "k_split": 2}),
        ("asis", {"block_n": 64, "in_flight": 2}),
        ("asis", {"block_m": 256, "begins_inside": True}),
        ("s2e2", {}),
        ("s2e2", {"block_n": 64}),
        ("s2e2", {"begins_inside": True}),
        ("s3e4", {"block_n": 192, "begins_inside": True}),
        ("s2e4", {"block_m": 256}),
        ("s2e4", {"block_m": 64, "num_consumers": 4, "k_split": 4}),
        ("s2e4-hd32", {"block_n": 256}),
        ("s2e4-hd32", {"block_n": 256, "begins_inside": True}),
    ],
)
def test_the_policy_of_a_kind(policy, kind):
    config = GemmConfig(4096, 7168, 128, 128, 4, 2, 1, 1, 1, 1, 1, 1)
    assert making.usual(config._replace(**kind)) == policy
