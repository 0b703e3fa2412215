"""`nvgemm tune`, with invented times in place of a GPU's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
from measured import measured_config

from nvgemm import cli, settings, tune
from nvgemm.bench.cold import Times
from nvgemm.bench.suites import SUITES
from nvgemm.bench.workload import Workload
from nvgemm.choice import tables
from nvgemm.choice.completion import blocks_in, complete
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import candidates, select_config
from nvgemm.choice.problem import Problem
from nvgemm.runtime import device_model
from nvgemm.runtime.driver import Device

pytest.importorskip("rich")
HOPPER = Device(0, "a Hopper GPU", (9, 0), 132, 1_980_000, 50 << 20, 3_352_320_000_000, 232_448)


class Sweep:
    """Narrow tiles are fast, and at a second look the widest of the narrow."""

    made: ClassVar[list[Any]] = []

    def __init__(self, workload: Workload) -> None:
        self.made.append(tuple(workload.shape) if workload.suite == "dense" else workload.name)
        self.problem, self.model = workload.problem, H100
        self.picked = select_config(self.problem)

    def likely(self, count):
        return [*list(candidates(self.problem))[:count], self.picked]

    def times(self, configs, rounds):
        sign = 1 if rounds == tune.FIRST_ROUNDS else -1
        ordered = sorted(configs, key=lambda config: (config == self.picked, sign * config.block_n))
        return {config: Times(10.0 + i, 0.0) for i, config in enumerate(ordered)}


@pytest.fixture(autouse=True)
def _device(monkeypatch, tmp_path):
    monkeypatch.setattr(tune, "Sweep", Sweep)
    monkeypatch.setattr(tune.driver, "require_hopper", lambda ordinal: HOPPER)
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path))
    monkeypatch.setattr(Sweep, "made", [])


def test_the_fastest_of_the_second_look_goes_into_the_table(tmp_path, capsys):
    assert cli.main(["tune", "--shape", "300", "2056", "7168", "--candidates", "20"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tuned.json")
    (key, found), *others = tables.table(str(tmp_path / "tuned.json")).products.items()
    blocks = found.blocks
    assert key == ("dense", 1, 320, 2056, 7168)
    assert not others
    first = sorted(c.block_n for c in list(candidates(Problem(300, 2056, 7168, True)))[:20])
    assert blocks.block_n == max(first[: tune.FINALISTS])
    assert json.loads((tmp_path / "tuned.json").read_text())["device"] == {
        name: getattr(HOPPER, name) for name in tables.DEVICE
    }


def test_of_configurations_that_are_level_the_shortest_round_is_taken():
    """Which compiles sooner; one that is slower by more than the noise is not."""
    likely = complete(Problem(4096, 4096, 7168, True), H100, tables.Blocks(128, 128, 2, 1, 1, 1))
    assert likely is not None
    us = {4: 100.0, 2: 100.3, 1: 101.0}
    times = {likely._replace(k_unroll=unroll): Times(time, 0.0) for unroll, time in us.items()}
    assert tune._best(times).k_unroll == 2


def test_what_was_interrupted_is_taken_up(tmp_path, monkeypatch, capsys):
    shapes = [(64, 576, 7168), (128, 576, 7168), (256, 576, 7168)]

    def interrupted(workload):
        if workload.problem.m == 128:
            raise KeyboardInterrupt
        return Sweep(workload)

    arguments = ["tune", *(word for shape in shapes for word in ("--shape", *map(str, shape))), "--json"]
    monkeypatch.setattr(tune, "Sweep", interrupted)
    assert cli.main(arguments) == cli.INTERRUPTED
    monkeypatch.setattr(tune, "Sweep", Sweep)
    assert cli.main(arguments) == 0
    assert Sweep.made == shapes
    assert [product["m"] for product in json.loads(capsys.readouterr().out)] == [64, 128, 256]
    assert cli.main([*arguments, "--again"]) == 0
    assert Sweep.made == [*shapes, *shapes]


def test_of_sizes_that_share_an_entry_the_largest_is_measured(tmp_path):
    file = tmp_path / "shapes"
    file.write_text("# tokens, then weights\n 1 576 7168\n16x576x7168  # decode\n\n3, 576, 7168\n100×576×7168\n")
    assert cli.main(["tune", "--shapes", str(file)]) == 0
    assert Sweep.made == [(16, 576, 7168), (100, 576, 7168)]


def test_a_file_that_names_no_product_is_refused(tmp_path, capsys):
    file = tmp_path / "shapes"
    file.write_text("# none yet\n")
    assert cli.main(["tune", "--suite", "masked", "--shapes", str(file)]) == 1
    assert f"--shapes: {file} names no product" in capsys.readouterr().err
    assert not Sweep.made


def test_what_the_table_of_another_device_has_is_not_mixed(tmp_path, capsys):
    path = tmp_path / "h200.json"
    tables.write(path, {"name": "H200", "num_sms": 132, "clock_khz": 1_980_000, "memory_bandwidth": 1}, [])
    before = path.read_bytes()
    assert cli.main(["tune", "--shape", "64", "576", "7168", "--out", str(path)]) == 1
    assert "was measured on another device, H200" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not Sweep.made


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name products by"),
        (["--shape", "64", "576", "x"], "the suite dense takes M N K, got 64 576 x"),
        (["--shape", "g8:4096x7168x2048"], "the suite dense takes M N K, got g8:4096x7168x2048"),
        (["--suite", "masked", "--shape", "g8:20x7168x2048"], "must state the rows of a group's place"),
        (["--shape", "64", "100", "7168"], "N % 8 == 0"),
        (["--shapes", "absent"], "No such file"),
    ],
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_measured(arguments, message, capsys):
    assert cli.main(["tune", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not Sweep.made


def test_a_users_table_goes_before_the_shipped_one(tmp_path):
    own = str(tmp_path / "tuned.json")
    assert device_model.model(HOPPER).tables == (tables.H100,)
    assert cli.main(["tune", "--shape", "64", "576", "7168"]) == 0
    assert device_model.model(HOPPER).tables == (own, tables.H100)
    assert device_model.user_table() == own
    for other in ({"num_sms": 78}, {"num_sms": 77}, {"memory_bandwidth": 4_800_000_000_000}):  # a shared folder
        assert own not in device_model.model(HOPPER._replace(**other)).tables


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_closed_cache_folder_hides_the_table_alone(tmp_path):
    assert cli.main(["tune", "--shape", "64", "576", "7168"]) == 0
    tmp_path.chmod(0)
    try:
        assert device_model.model(HOPPER).tables == (tables.H100,)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"device": {}}', '{"products": []}'])
def test_a_file_that_is_no_table_is_told_and_left(tmp_path, capsys, content):
    path = tmp_path / "tuned.json"
    path.write_text(content)
    assert cli.main(["tune", "--shape", "64", "576", "7168"]) == 1
    assert f"--out: {path} is no table of nvgemm tune" in capsys.readouterr().err
    assert path.read_text() == content
    assert not Sweep.made


def test_a_shipped_table_can_be_gone_on_with(tmp_path, capsys):
    path = tmp_path / "h100.json"
    path.write_bytes(Path(tables.H100).read_bytes())
    shapes = ["--shape", "64", "576", "7168", "--shape", "300", "2056", "7168"]
    assert cli.main(["tune", *shapes, "--out", str(path)]) == 0
    assert Sweep.made == [(300, 2056, 7168)]
    assert len(tables.table(str(path)).products) == len(tables.table(tables.H100).products) + 1
    assert "64×576×7168" in capsys.readouterr().err


def test_what_another_process_adds_meanwhile_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "tuned.json"

    def meanwhile(workload):
        if not path.exists():
            monkeypatch.setattr(tune, "Sweep", Sweep)
            assert cli.main(["tune", "--shape", "128", "2112", "7168"]) == 0
        return Sweep(workload)

    monkeypatch.setattr(tune, "Sweep", meanwhile)
    assert cli.main(["tune", "--shape", "64", "576", "7168"]) == 0
    assert {key[3] for key in tables.table(str(path)).products} == {576, 2112}


def test_the_raster_that_was_measured_is_kept(tmp_path, monkeypatch):
    class Walked(Sweep):
        def times(self, configs, rounds):
            ordered = sorted(configs, key=lambda config: config.raster_m != 8)
            return {config: Times(10.0 + i, 0.0) for i, config in enumerate(ordered)}

    monkeypatch.setattr(tune, "Sweep", Walked)
    assert cli.main(["tune", "--shape", "4096", "7168", "2048", "--candidates", "1", "--rounds", "1"]) == 0
    (found,) = tables.table(str(tmp_path / "tuned.json")).products.values()
    assert found.blocks.raster_m == 8


def test_the_strips_that_were_measured_are_kept(tmp_path, monkeypatch):
    class Stored(Sweep):
        def times(self, configs, rounds):
            ordered = sorted(configs, key=lambda config: (-config.block_n, config.num_d_strips))
            return {config: Times(10.0 + i, 0.0) for i, config in enumerate(ordered)}

    monkeypatch.setattr(tune, "Sweep", Stored)
    assert cli.main(["tune", "--shape", "512", "4096", "7168", "--candidates", "1", "--rounds", "1"]) == 0
    problem = Problem(512, 4096, 7168, True)
    found = measured_config(problem, H100._replace(tables=(str(tmp_path / "tuned.json"),)))
    assert found.num_d_strips == 1
    assert found.num_stages > complete(problem, H100, blocks_in(found)._replace(num_d_strips=2)).num_stages


def test_the_unroll_that_was_measured_is_kept(tmp_path):
    assert cli.main(["tune", "--shape", "256", "7168", "16384", "--candidates", "1", "--rounds", "1"]) == 0
    (found,) = tables.table(str(tmp_path / "tuned.json")).products.values()
    assert found.blocks.k_unroll is not None


@pytest.mark.parametrize("suite", ["contiguous", "masked", "offsets"])
def test_a_call_with_groups_finds_what_was_measured(tmp_path, suite):
    """The problem that is measured is the one that such a call poses."""
    shape = SUITES[suite].shapes[0]
    arguments = ["tune", "--suite", suite, "--shape", shape.name, "--candidates", "2", "--rounds", "1"]
    assert cli.main(arguments) == 0
    assert Sweep.made == [shape.name]
    (product,) = json.loads((tmp_path / "tuned.json").read_text())["products"]
    assert (product["grouping"], product["groups"], product["n"]) == (suite, shape.groups, shape.n)
    problem = Workload(suite, shape).problem
    found = measured_config(problem, H100._replace(tables=(str(tmp_path / "tuned.json"),)))
    assert found is not None
    assert blocks_in(found) == tables.blocks_of(product)


def test_a_whole_suite(tmp_path):
    """Of shapes that share an entry the one with the most rows."""
    workloads = [Workload("offsets", shape) for shape in SUITES["offsets"].shapes]
    assert cli.main(["tune", "--suite", "offsets", "--candidates", "1", "--rounds", "1"]) == 0
    assert len(Sweep.made) == len({tables.key(workload.problem) for workload in workloads}) < len(workloads)
