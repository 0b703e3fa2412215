"""What a run of a suite is summed up by, shown as, and compared with; measured times are made up here."""

from __future__ import annotations

import json
import sys

import pytest

from nvgemm.bench import compare, peers, results, sustained, table
from nvgemm.bench.cold import Times
from nvgemm.bench.suites import DENSE, RANGES

TIMES = {"nvgemm": Times(10.0, 0.01, 1900.0), "deepgemm": Times(12.0, 0.02), "bf16": Times(8.0, 0.0)}


def run(**ours: float) -> results.Record:
    """A run over one shape of each range, in µs."""
    shapes = []
    for m, us in zip((64, 512, 4096), ours.values() or (10.0, 10.0, 10.0), strict=True):
        shapes.append(results.record(m, 4096, 7168, 132, {**TIMES, "nvgemm": Times(us, 0.01, 1900.0)}))
    about = {"suite": "dense", "mode": "cold", "date": "2026-01-02", "missing": {"triton": "no such module"}}
    device = {"name": "H100", "driver": "580"}
    contenders = {contender.name: contender.what for contender in peers.ALL}
    return {"schema": 1, **about, "device": device, "software": {}, "contenders": contenders, "refused": {}} | {
        "shapes": shapes,
        "summary": results.summary(shapes),
    }


def test_the_envelope_is_the_fastest_that_does_the_same_job():
    record = results.record(64, 4096, 7168, 132, {**TIMES, "cublaslt_block128": Times(11.0, 0.0)})
    assert record["envelope"] == {"peer": "cublaslt_block128", "us": 11.0, "ratio": 1.1}
    assert record["flop"] == 2 * 64 * 4096 * 7168
    assert record["tensor_share"] == pytest.approx(record["flop"] / (8192 * 132 * 1900.0 * 10.0))
    alone = results.record(64, 4096, 7168, 132, {"nvgemm": Times(10.0, 0.0)})
    assert (alone["envelope"], alone["tensor_share"]) == (None, None)
    assert not results.is_lost(alone)


def test_the_summary_tells_what_is_lost():
    parts = run(a=10.0, b=12.5, c=12.2)["summary"]
    assert [part["range"] for part in parts] == list(RANGES)
    assert [part["lost"] for part in parts] == [[], ["512x4096x7168"], []]
    assert parts[0]["geomean"] == pytest.approx(1.2)
    assert results.geomean([1.0, 4.0]) == pytest.approx(2.0)


def test_every_shape_belongs_to_one_range():
    for m, _, _ in DENSE:
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


def test_comparison_finds_what_moved():
    lines = list(compare.as_lines(run(), run(a=10.0, b=10.0, c=12.0)))
    assert lines[0].startswith("against 2026-01-02, H100: 3 shapes in common")
    assert any("nvgemm" in line and "0.941 times as fast" in line for line in lines)
    assert [line.split()[0] for line in lines if "→" in line] == ["4096x4096x7168"]


def test_what_is_no_result_is_refused(tmp_path):
    path = tmp_path / "old.json"
    for content in ("", "[]", "{}", json.dumps({"schema": 2, "shapes": []}), json.dumps({"schema": 1, "shapes": 3})):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"old\.json: no result of `nvgemm bench --json`"):
            compare.load(path)
    path.write_text(json.dumps(run()))
    assert compare.load(path)["shapes"]


def test_unknown_contenders_are_named():
    with pytest.raises(ValueError, match="contenders: nobody not known; there are nvgemm, deepgemm"):
        peers.contenders(["nobody"])


def test_what_is_absent_is_told_and_left_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "deep_gemm", None)
    found, missing = peers.contenders(["deepgemm", "bf16"])
    assert [contender.name for contender in found] == ["nvgemm", "bf16"]
    assert list(missing) == ["deepgemm"]


def test_rotated_operands_do_not_fit_the_l2():
    for size in (1 << 20, 40 << 20, 1 << 30):
        sets = sustained.sets_of(size)
        assert 2 <= sets <= 64
        assert sets * size >= min(sustained.ROTATED_BYTES, 64 * size)


def test_times_of_samples():
    times = Times.of([4.0, 1.0, 3.0, 2.0, 5.0], [1900.0, 1980.0, 1700.0], watts=500.0)
    assert (times.us, times.mhz, times.watts) == (3.0, 1900.0, 500.0)
    assert times.spread == pytest.approx(1 / 3)
    assert times.joules == pytest.approx(1.5e-3)
