"""Tables of measured blocks: which one decides, and what becomes of one that is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from measured import measured_config

from nvgemm.bench.suites import SUITES
from nvgemm.choice import tables
from nvgemm.choice.cost import H100, Model
from nvgemm.choice.heuristic import candidates, select_config
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.choice.tables import Blocks

DEVICE = {"name": "a device", "num_sms": 132, "clock_khz": 1_755_000, "memory_bandwidth": 4_800_000_000_000}
PRODUCT = {"m": 16, "n": 4096, "k": 7168, **Blocks(64, 48, 2, 2, 1, 1)._asdict(), "us": 12.5}
PRODUCT.pop("k_unroll")
PROBLEM = Problem(9, 4096, 7168, True)


def table(folder: Path, name: str = "tuned.json", products=(PRODUCT,), **device) -> str:
    tables.write(folder / name, DEVICE | device, products)
    return str(folder / name)


def test_what_is_written_is_read(tmp_path):
    grouped = {"grouping": "masked", "groups": 6, "m": 20, "n": 512, "k": 128, **PRODUCT, "cluster_k": 2}
    read = tables.table(table(tmp_path, products=[PRODUCT, grouped | {"m": 20, "n": 512, "k": 128}]))
    assert read.device == DEVICE
    assert {key: found.blocks for key, found in read.products.items()} == {
        ("dense", 1, 16, 4096, 7168): Blocks(64, 48, 2, 2, 1, 1),
        ("masked", 6, 64, 512, 128): Blocks(64, 48, 2, 2, 1, 1, cluster_k=2),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["tuned.json"]


def test_the_first_table_that_has_a_product_decides(tmp_path):
    own = Model(tables=(table(tmp_path), tables.H100))
    assert measured_config(PROBLEM, own).block_n == 48
    assert select_config(PROBLEM, own) == measured_config(PROBLEM, own)
    assert measured_config(PROBLEM._replace(n=2112), own) == measured_config(PROBLEM._replace(n=2112), H100)
    assert measured_config(PROBLEM._replace(n=2120), own) is None


def test_a_table_of_other_sms_is_not_asked(tmp_path):
    own = (table(tmp_path, num_sms=78),)
    assert measured_config(PROBLEM, Model(tables=own)) is None
    assert measured_config(PROBLEM, Model(num_sms=78, tables=own)).block_n == 48
    assert measured_config(PROBLEM, H100._replace(num_sms=131)) is None


def test_a_changed_table_is_read_again(tmp_path):
    path = table(tmp_path)
    assert tables.lookup(PROBLEM, [path], 132).blocks.block_n == 48
    Path(path).unlink()
    assert tables.lookup(PROBLEM, [path], 132) is None
    table(tmp_path, products=[PRODUCT | {"block_n": 64}])
    assert tables.lookup(PROBLEM, [path], 132).blocks.block_n == 64


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"device": DEVICE}),
        json.dumps({"device": {"num_sms": 132}, "products": []}),
        json.dumps({"device": DEVICE, "products": [{"m": 1, "n": 8, "k": 16}]}),
        json.dumps({"device": DEVICE, "products": [PRODUCT | {"grouping": "neither"}]}),
        json.dumps({"device": DEVICE, "products": [PRODUCT | {"block_m": "wide"}]}),
    ],
)
def test_a_file_that_is_no_table_is_ignored_with_a_warning(tmp_path, content):
    path = tmp_path / "tuned.json"
    path.write_text(content)
    own = Model(tables=(str(path), tables.H100))
    with pytest.warns(UserWarning, match=r"tuned\.json is ignored: no table of nvgemm tune"):
        assert measured_config(PROBLEM, own) == measured_config(PROBLEM, H100)


@pytest.mark.parametrize(
    "change",
    [
        {"block_m": 96},
        {"block_n": 20},
        {"block_n": 192},
        {"num_consumers": 3},
        {"cluster_m": 2, "cluster_n": 2},
        {"k_unroll": 3},
        {"raster_m": 3},
        {"num_d_strips": 5},
    ],
)
def test_blocks_that_no_kernel_is_built_for_are_not_taken(tmp_path, change):
    own = Model(tables=(table(tmp_path, products=[PRODUCT | {"num_consumers": 4, "k_split": 4} | change]),))
    with pytest.warns(UserWarning, match="no kernel is built for"):
        assert measured_config(PROBLEM, own) is None


@pytest.mark.parametrize(
    ("problem", "change"),
    [
        (PROBLEM, {"block_m": 128, "block_n": 256, "k_split": 1, "cluster_k": 2}),
        (PROBLEM, {"block_m": 256, "k_split": 1, "cluster_k": 2}),
        (PROBLEM._replace(k=7040), {"cluster_k": 2}),  # 55 k-blocks
        (Problem(9, 4096, 7168, True, Grouping.BATCHED, 2), {"cluster_k": 2}),
        (Problem(512, 4096, 7168, True, Grouping.MASKED, 2, expected_m=9), {"num_consumers": 4, "k_split": 4}),
        (Problem(512, 4096, 7168, True, Grouping.CONTIGUOUS, 2, 64, 9), {"block_m": 128, "k_split": 1}),
        (Problem(512, 4096, 7168, True, Grouping.CONTIGUOUS, 2, 128, 9), {"block_m": 256, "k_split": 1}),
    ],
)
def test_blocks_that_do_not_suit_the_problem_are_left_to_the_model(tmp_path, problem, change):
    kind = {"grouping": problem.grouping.name.lower(), "groups": problem.groups, "k": problem.k}
    own = Model(tables=(table(tmp_path, products=[PRODUCT | kind | change]),))
    assert tables.lookup(problem, own.tables, 132) is not None
    assert measured_config(problem, own) is None


def test_a_device_that_does_not_tell_its_clock_has_a_table_too():
    assert tables.nearest(132, 0, 0) == tables.H100


def test_the_nearest_device_with_as_many_sms(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "SHIPPED", tmp_path)
    slow = table(tmp_path, "slow.json", memory_bandwidth=3_350_000_000_000)
    fast = table(tmp_path, "fast.json", memory_bandwidth=4_800_000_000_000)
    few = table(tmp_path, "few.json", num_sms=78)
    assert tables.nearest(132, 1_755_000, 4_300_000_000_000) == fast
    assert tables.nearest(132, 1_755_000, 3_350_000_000_000) == slow
    assert tables.nearest(78, 1_980_000, 4_000_000_000_000) == few
    assert tables.nearest(114, 1_755_000, 2_000_000_000_000) is None


def test_no_shipped_table_has_the_shapes_that_test_the_model():
    known = [table.products for table in map(tables.read, map(str, tables.SHIPPED.glob("*.json")))]
    others = [tables.key(Problem(*shape, True)) for shape in SUITES["others"].shapes]
    assert len(others) == 40
    assert not any(key in blocks for key in others for blocks in known)


def test_shipped_tables_say_what_they_were_measured_on():
    shipped = {path.stem: tables.table(str(path)) for path in sorted(tables.SHIPPED.glob("*.json"))}
    assert {name: table.device["name"] for name, table in shipped.items()} == {
        "h100": "NVIDIA H100 80GB HBM3",
        "h200": "NVIDIA H200",
    }
    assert all(table.device["num_sms"] == H100.num_sms for table in shipped.values())
    measured = {Grouping.DENSE, Grouping.MASKED, Grouping.OFFSETS, Grouping.CONTIGUOUS}
    for table in shipped.values():
        assert {key[0] for key in table.products} == {grouping.name.lower() for grouping in measured}


def test_a_neighbour_decides_where_tiles_are_many(tmp_path):
    big = PRODUCT | {"m": 8192, "n": 24576, "k": 1536, "block_m": 128, "block_n": 192, "policy": "e4"}
    path = table(tmp_path, products=[big, big | {"m": 9216, "block_n": 176}])
    for m, block_n in ((8192, 192), (7000, 192), (8500, 192), (8900, 176), (11_000, 176), (5000, None), (13_000, None)):
        found = tables.lookup(Problem(m, 24576, 1536, True), [path], 132)
        assert (found and found.blocks.block_n) == block_n, m
    assert tables.lookup(Problem(8500, 24576, 1536, True), [path], 132).policy == "e4"
    assert tables.lookup(Problem(8500, 24576, 1536, True), [path], 78) is None
    farther = table(tmp_path, "own.json", products=[big | {"m": 10_000, "block_n": 160}])
    assert tables.lookup(Problem(8500, 24576, 1536, True), [farther, path], 132).blocks.block_n == 192


def test_rows_that_share_an_entry_share_its_clusters(tmp_path):
    """A table's pairs of contiguous blocks hold for all rows of its entry, though the model has none for so few."""
    pairs = PRODUCT | {"grouping": "contiguous", "groups": 8, "m": 1024, "n": 4096, "k": 7168}
    pairs |= {"block_m": 128, "block_n": 256, "num_consumers": 2, "k_split": 1, "cluster_m": 2}
    own = Model(tables=(table(tmp_path, products=[pairs]),))
    for rows in (1024, 1000):
        problem = Problem(8 * 1024, 4096, 7168, True, Grouping.CONTIGUOUS, 8, 128, rows)
        assert measured_config(problem, own).cluster_m == 2
    assert all(config.cluster_m == 1 for config in candidates(problem) if config.block_m == 128)


def test_few_tiles_have_no_neighbour(tmp_path):
    path = table(tmp_path, products=[PRODUCT | {"m": 512, "n": 4096, "k": 7168, "block_m": 128, "block_n": 128}])
    assert tables.lookup(Problem(512, 4096, 7168, True), [path], 132) is not None
    assert tables.lookup(Problem(448, 4096, 7168, True), [path], 132) is None
