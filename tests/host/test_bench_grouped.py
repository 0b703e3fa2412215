"""Suites of grouped products: sizes, layouts of the operands, contenders, and what a run of one tells."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy_torch as torch
import pytest

import nvgemm
from nvgemm import reference, settings
from nvgemm.bench import compare, grouped_operands, grouped_peers, peers, plot_data, plots, read_floor, results, table
from nvgemm.bench.cold import Times
from nvgemm.bench.contender import relative_frobenius
from nvgemm.bench.grouped_operands import Contiguous, Masked, Offsets, aligned_starts
from nvgemm.bench.shapes import DenseShape, GroupedShape
from nvgemm.bench.suites import SUITES, parse
from nvgemm.runtime.build import build

GROUPED = ("contiguous", "masked", "offsets")
EVERY = [(suite, shape) for suite in GROUPED for shape in SUITES[suite].shapes]


def test_a_name_tells_the_sizes():
    shape = GroupedShape.parse("g3:20x4096x2048:max64")
    assert (shape.sizes, shape.rows, shape.n, shape.k, shape.max_m) == ((20, 20, 20), 20, 4096, 2048, 64)
    assert (shape.groups, shape.m, shape.flop) == (3, 60, 2 * 60 * 4096 * 2048)
    assert shape.weight_bytes == 3 * 4096 * 2048
    assert shape.bytes == shape.weight_bytes + 60 * 2048 + 2 * 60 * 4096 + 4 * 60 * 16


def test_drawn_sizes_are_of_their_range_and_the_same_each_time():
    jit = GroupedShape.parse("g1000:100x128x128:jit").sizes
    assert (min(jit), max(jit)) == (70, 130)
    assert GroupedShape.parse("g1000:100x256x256:jit").sizes == jit
    ragged = GroupedShape.parse("g5000:100x128x128:ragged")
    assert (min(ragged.sizes), max(ragged.sizes)) == (0, 300)
    assert ragged.m / 5000 == pytest.approx(100, rel=0.05)
    assert ragged.weight_bytes == (5000 - ragged.sizes.count(0)) * 128 * 128
    between = GroupedShape.parse("g5000:257-320x128x128")
    assert (min(between.sizes), max(between.sizes), between.rows) == (257, 320, 288)


@pytest.mark.parametrize(
    ("suite", "words", "message"),
    [
        ("contiguous", ["64", "128", "256"], "expected such as g8:4096x7168x2048:jit"),
        ("contiguous", ["g8:64x128x256:max64"], "one of the suite contiguous has no :max"),
        ("masked", ["g8:64x128x256"], "one of the suite masked must state the rows of a group's place"),
        ("masked", ["g8:64x128x256:max64:jit"], "rows, more than its place of 64"),
        ("dense", ["g8:64x128x256"], "the suite dense takes M N K, got g8:64x128x256"),
        ("dense", ["64", "128"], "the suite dense takes M N K, got 64 128"),
    ],
)
def test_a_shape_of_another_kind_is_refused(suite, words, message):
    with pytest.raises(ValueError, match=message):
        parse(suite, words)


def test_a_shape_as_the_command_line_gives_it():
    assert parse("dense", ["64", "128", "256"]) == DenseShape(64, 128, 256)
    assert parse("masked", ["g6:20x4096x2048:max4096:jit"]) in SUITES["masked"].shapes


def test_the_suites_have_each_shape_once_and_in_one_range():
    assert [len(SUITES[suite].shapes) for suite in GROUPED] == [12, 22, 3]
    for suite, shape in EVERY:
        assert sum(low <= shape.rows <= high for low, high in SUITES[suite].ranges.values()) == 1
        assert parse(suite, [shape.name]) == shape
    assert len({shape.name for _, shape in EVERY}) == len(EVERY)
    masked = results.summary("masked", [compared(shape) for shape in SUITES["masked"].shapes])
    assert [(part["range"], part["shapes"]) for part in masked] == [("rows ≤ 20", 8), ("rows ≥ 192", 14)]


def compared(shape: GroupedShape) -> results.Record:
    return {**shape.facts, "envelope": {"peer": "deepgemm", "us": 1.0, "ratio": 1.0}}


@pytest.fixture
def _on_the_host(monkeypatch) -> None:
    """The quantisers of the oracle instead of those of the device."""

    def on_host(cast: Any) -> Any:
        def quantise(x: Any) -> nvgemm.Quantized:
            data, scales = cast(np.asarray(x).astype(np.float32))
            return nvgemm.Quantized(data.view(torch.float8_e4m3fn).view(torch.Tensor), scales.view(torch.Tensor))

        return quantise

    stand_in = SimpleNamespace(
        per_token_cast_to_fp8=on_host(reference.per_token_cast_to_fp8),
        per_block_cast_to_fp8=on_host(reference.per_block_cast_to_fp8),
        get_mn_major_tma_aligned_tensor=lambda scales: scales,
    )
    monkeypatch.setattr(grouped_operands, "nvgemm", stand_in)


def product(a: Any, b: Any, group: int) -> np.ndarray:
    """A's rows times the weights of one group, by the oracle."""
    codes = (np.ascontiguousarray(x).view(np.uint8) for x in (a[0], b[0][group]))
    return reference.gemm(next(codes), np.asarray(a[1]), next(codes), np.asarray(b[1][group]))


def multiplied_by_layout(o: Any) -> Any:
    for group in range(o.shape.groups):
        rows = np.flatnonzero(o.grouped_layout == group)
        if len(rows):
            o.d[rows] = product((o.a.data[rows], o.a.scales[rows]), o.b, group)
    return o.d


def multiplied_by_offsets(o: Any) -> Any:
    for group, (first, end) in enumerate(zip(o.offsets[:-1], o.offsets[1:], strict=True)):
        if end > first:
            o.dense_d[first:end] = product((o.dense_a.data[first:end], o.dense_a.scales[first:end]), o.b, group)
    return o.dense_d


def multiplied_by_mask(o: Any) -> Any:
    for group, rows in enumerate(o.masked_m):
        o.d[group, :rows] = product((o.a.data[group, :rows], o.a.scales[group, :rows]), o.b, group)
    return o.d


LAYOUTS = [
    (Contiguous, "g3:130x136x272:jit", multiplied_by_layout),
    (Offsets, "g5:40x136x272:ragged", multiplied_by_offsets),
    (Offsets, "g5:40x136x272:ragged", multiplied_by_layout),
    (Masked, "g3:5x136x272:max7:jit", multiplied_by_mask),
]


@pytest.mark.usefixtures("_on_the_host")
@pytest.mark.parametrize(("kind", "name", "multiply"), LAYOUTS)
def test_the_check_takes_a_right_result_and_no_other(kind, name, multiply):
    operands = kind(torch, GroupedShape.parse(name))
    exact = operands.exact()
    assert exact.shape == (operands.shape.m, 136)
    operands.clear()
    result = multiply(operands)
    assert relative_frobenius(operands, result, exact) < 3e-3
    assert np.isnan(np.asarray(result, np.float32)).any() == (result.size > exact.size)  # padding is left alone
    rows = result.reshape(-1, 136)
    written = np.flatnonzero(np.isfinite(np.asarray(rows[:, 0], np.float32)))
    assert len(written) == operands.shape.m
    for row in (written[0], written[-1]):
        rows[row] *= 100
        assert relative_frobenius(operands, result, exact) > 1
        rows[row] /= 100
    operands.clear()
    assert math.isnan(relative_frobenius(operands, result, exact))


@pytest.mark.usefixtures("_on_the_host")
def test_layouts_are_as_the_calls_want_them():
    contiguous = Offsets(torch, GroupedShape.parse("g3:100x128x256:ragged"))
    sizes, starts = contiguous.shape.sizes, aligned_starts(contiguous.shape.sizes)
    assert all(start % 128 == 0 for start in starts)
    assert len(contiguous.grouped_layout) == len(contiguous.a.data) == starts[-1]
    assert [int((contiguous.grouped_layout == group).sum()) for group in range(3)] == list(sizes)
    assert contiguous.grouped_layout.dtype == contiguous.offsets.dtype == torch.int32
    np.testing.assert_array_equal(np.diff(contiguous.offsets), sizes)
    assert len(contiguous.dense_a.data) == sum(sizes)
    masked = Masked(torch, GroupedShape.parse("g2:5x128x256:max7"))
    assert [stride // 4 for stride in masked.a.scales.strides] == [2 * 8, 1, 8]
    assert masked.a.scales.shape == (2, 7, 2)


def deep_gemm(**functions: Any) -> SimpleNamespace:
    return SimpleNamespace(get_mn_major_tma_aligned_tensor=lambda scales: scales, **functions)


@pytest.mark.usefixtures("_on_the_host")
@pytest.mark.parametrize("name", ["m_grouped_fp8_gemm_nt_masked", "fp8_m_grouped_gemm_nt_masked"])
def test_deepgemm_is_called_by_the_name_that_it_has(monkeypatch, name):
    operands = Masked(torch, GroupedShape.parse("g2:5x128x256:max8"))
    given: list[Any] = []
    monkeypatch.setitem(sys.modules, "deep_gemm", deep_gemm(**{name: lambda *arguments: given.extend(arguments)}))
    assert peers.LINE_UPS["masked"][1].launcher(operands)() is operands.d
    a, b, d, masked_m, expected_m = given
    assert type(a) is type(b) is tuple
    assert d is operands.d
    assert masked_m is operands.masked_m
    assert expected_m == 5
    monkeypatch.setitem(sys.modules, "deep_gemm", deep_gemm())
    with pytest.raises(RuntimeError, match="deep_gemm has none of m_grouped_fp8_gemm_nt_masked"):
        peers.LINE_UPS["masked"][1].launcher(operands)


@pytest.mark.usefixtures("_on_the_host")
def test_offsets_stand_beside_the_padded_call_on_the_same_tokens(monkeypatch):
    operands, given = Offsets(torch, GroupedShape.parse("g2:100x128x256")), dict[str, Any]()

    def ours(a: Any, b: Any, d: Any, offsets: Any, expected_m: int) -> Any:
        given["ours"] = a.data, d, offsets, expected_m
        return d

    def theirs(a: Any, b: Any, d: Any, layout: Any) -> None:
        given["theirs"] = a[0], d, layout

    monkeypatch.setattr(grouped_peers, "nvgemm", SimpleNamespace(m_grouped_fp8_gemm_nt_offsets=ours))
    monkeypatch.setitem(sys.modules, "deep_gemm", deep_gemm(m_grouped_fp8_gemm_nt_contiguous=theirs))
    own, peer = (contender.launcher(operands) for contender in peers.LINE_UPS["offsets"])
    assert own() is operands.dense_d
    assert peer() is operands.d
    assert [len(data) for data in (given["ours"][0], given["theirs"][0])] == [200, 256]
    assert given["ours"][2:] == (operands.offsets, 100)
    assert given["theirs"][2] is operands.grouped_layout
    np.testing.assert_array_equal(
        given["theirs"][0][operands.valid_rows].view(np.uint8), given["ours"][0].view(np.uint8)
    )


def test_what_has_no_grouped_call_is_told_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "deep_gemm", None)
    for suite in GROUPED:
        found, missing = peers.contenders(suite)
        assert [contender.name for contender in found] == ["nvgemm", *(["read_floor"] if suite == "masked" else [])]
        assert missing.keys() == {contender.name for contender in peers.DENSE} - {"nvgemm"}
        assert missing["triton"] == "it multiplies one pair of matrices a call, not groups"
        assert missing["deepgemm"].startswith("ModuleNotFoundError")
    found, missing = peers.contenders("contiguous", ["bf16", "read_floor"])
    assert [contender.name for contender in found] == ["nvgemm"]
    assert missing["read_floor"] == "it stands beside the masked suite only"
    assert list(missing) == ["bf16", "read_floor"]
    assert "read_floor" not in peers.contenders("dense")[1]


def test_the_read_floor_is_checked_by_the_sum_of_all_words():
    words = np.arange(1, 65, dtype=np.int32) << 26
    weights = words.view(torch.float8_e4m3fn).reshape(2, 8, 16).view(torch.Tensor)
    shape = SimpleNamespace(weight_bytes=weights.nbytes)
    operands = SimpleNamespace(b=SimpleNamespace(data=weights), shape=shape, torch=torch)
    sums = np.array([words[:40].sum(dtype=np.int32), words[40:].sum(dtype=np.int32)])  # these wrap around
    assert read_floor.READ_FLOOR.error(operands, sums, None) == 0
    assert read_floor.READ_FLOOR.error(operands, sums - [0, words[7]], None) == math.inf


def test_what_only_reads_compiles_for_the_threads_that_are_launched(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path))
    cubin = build("read_only", {})
    assert (cubin.meta["spilled_bytes"], cubin.meta["complaints"]) == (0, [])
    launched = f"NUM_THREADS = {read_floor._NUM_THREADS}, CTAS_PER_SM = {read_floor._CTAS_PER_SM}"
    assert launched in cubin.files["kernel.cu"].decode()


TIMES = {"nvgemm": Times(20.0, 0.01, 1900.0), "deepgemm": Times(22.0, 0.0), "read_floor": Times(18.0, 0.0)}


def run(suite: str = "masked", us: float = 20.0) -> results.Record:
    """A run over two shapes."""
    times = {**TIMES, "nvgemm": Times(us, 0.01, 1900.0)}
    if suite != "masked":
        del times["read_floor"]
    shapes = [results.record(shape, 132, times) for shape in SUITES[suite].shapes[-2:]]
    about = {
        "schema": 1,
        "suite": suite,
        "mode": "cold",
        "date": "2026-01-02",
        "missing": {},
        "command": "nvgemm bench",
    }
    about |= {"power": None, "same_job": ["deepgemm"], "rounds": 30, "refused": {}, "software": {}}
    device = {"name": "H100", "num_sms": 132, "driver": "580", "memory_bandwidth": 3352320000000}
    contenders = {contender.name: contender.what for contender in peers.LINE_UPS[suite]}
    summary = results.summary(suite, shapes)
    return {**about, "device": device, "contenders": contenders, "shapes": shapes, "summary": summary}


def test_a_record_counts_valid_rows():
    shape = SUITES["masked"].shapes[-1]
    made = results.record(shape, 132, TIMES)
    assert made["name"] == "g32:192x4096x2048:max4096:jit"
    assert (made["m"], made["groups"], made["rows"], made["max_m"]) == (sum(shape.sizes), 32, 192, 4096)
    assert made["flop"] == 2 * sum(shape.sizes) * 4096 * 2048
    assert made["envelope"] == {"peer": "deepgemm", "us": 22.0, "ratio": 1.1}  # what only reads is no peer
    assert made["read_share"] == pytest.approx(0.9)
    assert made["weight_bytes"] == 32 * 4096 * 2048
    assert results.record(shape, 132, {"nvgemm": TIMES["nvgemm"]})["read_share"] is None


@pytest.mark.parametrize("suite", GROUPED)
def test_the_table_has_a_cell_for_each_column(suite):
    measured = run(suite)
    *_, titles, dashes = table.head(measured)
    lines = [titles, dashes, *(table.line(measured, shape) for shape in measured["shapes"])]
    assert len({len(line) for line in lines}) == 1
    assert {line.count("|") for line in lines} == {titles.count("|")}
    cells = dict(
        zip((cell.strip() for cell in titles.split("|")), (c.strip() for c in lines[2].split("|")), strict=True)
    )
    shape = measured["shapes"][0]
    assert (cells["shape"], cells["rows"], cells["ratio"]) == (shape["name"], str(shape["m"]), "1.10")
    assert cells["TFLOP/s"] == f"{shape['flop'] / 20e6:.0f}"
    assert cells["GB/s"] == f"{shape['bytes'] / 20e3:.0f}"
    assert cells.get("of read") == ("90.0%" if suite == "masked" else None)
    assert any("1.100 times the envelope (geomean of 2)" in line for line in table.foot(measured))


def test_two_runs_are_compared_by_the_names_of_their_shapes(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps(run()))
    with pytest.raises(ValueError, match="suite is 'masked', expected 'contiguous'"):
        compare.load(path, "contiguous", "cold")
    lines = list(compare.as_lines(compare.load(path, "masked", "cold"), run(us=25.0)))
    assert lines[0].endswith("2 shapes in common")
    moved = [line.split()[0] for line in lines if "→" in line]
    assert moved == [shape.name for shape in SUITES["masked"].shapes[-2:]]


def test_a_grouped_run_can_be_drawn(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run()))
    read = plot_data.read(path)
    assert [shape.label for shape in read.shapes] == ["g32:192", "g32:192"]
    assert set(plots.plots_of(read)) == {"roofline", "speedup"}  # a sweep over M would join unlike groups


@pytest.fixture
def _drawing() -> Iterator[None]:
    pytest.importorskip("matplotlib")
    from nvgemm.bench.plot_style import style

    with style():
        yield


@pytest.mark.usefixtures("_drawing")
@pytest.mark.parametrize("suite", GROUPED)
def test_bars_are_labelled_by_groups(tmp_path, suite):
    from nvgemm.bench.plot_bars import speedup

    path = tmp_path / "run.json"
    path.write_text(json.dumps(run(suite)))
    (axes, *_) = speedup(plot_data.read(path)).axes
    first = SUITES[suite].shapes[-2].name.split("x")[0]
    assert axes.get_xticklabels()[0].get_text() == first
