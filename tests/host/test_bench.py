"""What a run of a suite is summed up by, shown as, and compared with; measured times are made up here."""

from __future__ import annotations

import json
import sys

import pytest

from nvgemm.bench import compare, peers, plot_data, results, table
from nvgemm.bench.cold import Times
from nvgemm.bench.plot_style import subtitle
from nvgemm.bench.shapes import DenseShape
from nvgemm.bench.suites import DENSE, SUITES

RANGES = SUITES["dense"].ranges
SHAPE = DenseShape(64, 4096, 7168)
TIMES = {"nvgemm": Times(10.0, 0.01, 1900.0), "deepgemm": Times(12.0, 0.02), "bf16": Times(8.0, 0.0)}


def run(mode: str = "cold", **ours: float) -> results.Record:
    """A run over one shape of each range, in µs."""
    shapes = []
    for m, us in zip((64, 512, 4096), ours.values() or (10.0, 10.0, 10.0), strict=True):
        shapes.append(results.record(DenseShape(m, 4096, 7168), 132, {**TIMES, "nvgemm": Times(us, 0.01, 1900.0)}))
    about = {"suite": "dense", "mode": mode, "date": "2026-01-02", "missing": {"triton": "no such module"}}
    about |= {"command": "nvgemm bench", "power": None, "same_job": ["deepgemm"]}
    about |= {"rounds": 30, "seconds": None} if mode == "cold" else {"rounds": None, "seconds": 2.0}
    device = {"name": "H100", "num_sms": 132, "driver": "580", "memory_bandwidth": 3352320000000}
    contenders = {contender.name: contender.what for contender in peers.DENSE}
    return {"schema": 1, **about, "device": device, "software": {}, "contenders": contenders, "refused": {}} | {
        "shapes": shapes,
        "summary": results.summary("dense", shapes),
    }


def test_the_envelope_is_the_fastest_that_does_the_same_job():
    record = results.record(SHAPE, 132, {**TIMES, "cublaslt_block128": Times(11.0, 0.0)})
    assert record["envelope"] == {"peer": "cublaslt_block128", "us": 11.0, "ratio": 1.1}
    assert record["flop"] == 2 * 64 * 4096 * 7168
    assert record["tensor_share"] == pytest.approx(record["flop"] / (8192 * 132 * 1900.0 * 10.0))
    alone = results.record(SHAPE, 132, {"nvgemm": Times(10.0, 0.0)})
    assert (alone["envelope"], alone["tensor_share"]) == (None, None)
    assert not results.is_lost(alone)


def test_the_summary_tells_what_is_lost():
    parts = run(a=10.0, b=12.5, c=12.2)["summary"]
    assert [part["range"] for part in parts] == list(RANGES)
    assert [part["lost"] for part in parts] == [[], ["512x4096x7168"], []]
    assert parts[0]["geomean"] == pytest.approx(1.2)
    assert results.geomean([1.0, 4.0]) == pytest.approx(2.0)


def test_what_is_timed_again_keeps_its_first_times():
    once = run(a=10.0, b=12.5, c=12.5)
    shapes = once["shapes"]
    won = results.timed_again(shapes[1], {**TIMES, "nvgemm": Times(12.0, 0.0)})
    lost = results.timed_again(shapes[2], {**TIMES, "nvgemm": Times(12.5, 0.0)})
    assert won["again"] == {"peer": "deepgemm", "us": 12.0, "ratio": 1.0}
    assert (won["retimed"], shapes[1]["retimed"], shapes[1]["again"]) == (True, False, None)
    assert (won["times"], won["envelope"]) == (shapes[1]["times"], shapes[1]["envelope"])
    assert [results.is_lost(shape) for shape in (won, lost)] == [False, True]
    twice = {**once, "shapes": [shapes[0], won, lost]}
    parts = results.summary("dense", twice["shapes"])
    assert [part["geomean"] for part in parts] == [part["geomean"] for part in once["summary"]]
    assert [part["lost"] for part in parts] == [[], [], ["4096x4096x7168"]]
    assert table.line(twice, won).endswith(" 0.96* |")
    again = "512x4096x7168: 0.96, again 1.00; 4096x4096x7168: 0.96, again 0.96"
    assert list(table.foot(twice))[1] == f"* timed again, because it was slower than the envelope: {again}"


def test_every_shape_belongs_to_one_range():
    for m in {m for m, _, _ in DENSE} | set(range(1, 3000)):
        assert sum(low <= m <= high for low, high in RANGES.values()) == 1


def test_the_table_is_markdown_with_a_cell_for_each_column():
    measured = run()
    *_, titles, dashes = table.head(measured)
    lines = [titles, dashes, *(table.line(measured, shape) for shape in measured["shapes"])]
    assert {line.count("|") for line in lines} == {titles.count("|")}
    assert " 4096×7168 |" in lines[2]
    assert "1.20" in lines[2]
    assert any("without triton: no such module" in line for line in table.head(measured))
    assert any("1.200 times the envelope" in line for line in table.foot(measured))


def test_the_table_tells_what_was_refused_and_why_there_is_no_power():
    measured = run(mode="sustained") | {"refused": {"triton": {"a": "K % 128", "b": "K"}}, "power": "NVMLError: none"}
    assert "triton refused 2 shapes: K % 128" in table.foot(measured)
    assert "without power: NVMLError: none" in table.head(measured)


@pytest.mark.parametrize("mode", ["cold", "sustained"])
def test_a_run_can_be_drawn(tmp_path, mode):
    measured = run(mode, a=10.0, b=12.5, c=12.5)
    measured["shapes"][1] = results.timed_again(measured["shapes"][1], TIMES)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(measured))
    read = plot_data.read(path)
    assert [shape.lost for shape in read.shapes] == [False, False, True]
    assert ("30 rounds" in subtitle(read)) == (mode == "cold")
    assert "None" not in subtitle(read)


def test_comparison_finds_what_moved():
    new = run(a=10.0, b=10.0, c=12.0)
    lines = list(compare.as_lines(run(), new))
    assert lines[0] == "against 2026-01-02, H100: 3 shapes in common"
    assert any("nvgemm" in line and "0.941 times as fast" in line for line in lines)
    assert [line.split()[0] for line in lines if "→" in line] == ["4096x4096x7168"]
    new["device"] = {"name": "H200"}
    assert next(compare.as_lines(run(), new)) == "against 2026-01-02, H100 (this run: H200): 3 shapes in common"


def test_what_is_no_result_is_refused(tmp_path):
    path = tmp_path / "old.json"
    for content in ("", "[]", "{}", json.dumps({"schema": 2, "shapes": []}), json.dumps({"schema": 1, "shapes": 3})):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"old\.json: no result of `nvgemm bench --json`"):
            compare.load(path, "dense", "cold")
    path.write_text(json.dumps(run()))
    assert compare.load(path, "dense", "cold")["shapes"]
    with pytest.raises(ValueError, match=r"old\.json: mode is 'cold', expected 'sustained'"):
        compare.load(path, "dense", "sustained")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["date"], 3, "date: expected str, got 3"),
        (["device"], {}, "'name' is missing"),
        (["shapes", 0, "m"], "64", "m: expected int, got '64'"),
        (["shapes", 0], {"m": 64}, "'n' is missing"),
        (["shapes", 0, "name"], 64, "name: expected str, got 64"),
        (["shapes", 0, "times"], [], r"times of 64x4096x7168: expected dict, got \[\]"),
        (["shapes", 0, "times"], {}, "'nvgemm' is missing"),
        (["shapes", 0, "times", "bf16", "us"], 0, "us of bf16 at 64x4096x7168: expected a positive number, got 0"),
        (["shapes", 0, "times", "bf16"], {}, "'us' is missing"),
        (["shapes", 0, "envelope", "ratio"], float("nan"), "ratio at 64x4096x7168: expected a positive number"),
        (["shapes", 0, "envelope"], {}, "'ratio' is missing"),
    ],
)
def test_a_damaged_result_is_refused_before_anything_is_measured(tmp_path, place, value, message):
    content = damaged = json.loads(json.dumps(run()))
    for key in place[:-1]:
        damaged = damaged[key]
    damaged[place[-1]] = value
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"old\.json: no result of .*{message}"):
        compare.load(path, "dense", "cold")


def test_unknown_contenders_are_named():
    with pytest.raises(ValueError, match="contenders: nobody not known; there are nvgemm, deepgemm"):
        peers.contenders("dense", ["nobody"])


def test_what_is_absent_is_told_and_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "deep_gemm", None)
    found, missing = peers.contenders("dense", ["deepgemm", "bf16"])
    assert [contender.name for contender in found] == ["nvgemm", "bf16"]
    assert list(missing) == ["deepgemm"]
