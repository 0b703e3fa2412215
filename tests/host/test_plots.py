"""Plots: what is read from a file of measurements, what is drawn of it, and that the same data give the same file."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nvgemm.bench import peers, plots
from nvgemm.bench.plot_data import Results, Shape, Time, read
from nvgemm.bench.plot_groups import by_weights, in_lines, spaced
from nvgemm.bench.plot_style import LOOKS, look, subtitle
from nvgemm.bench.promotion import error_against_k
from nvgemm.bench.suites import DENSE

ROOT = Path(__file__).resolve().parents[2]
SIZES = [(64, 576, 7168), (8192, 8192, 8192), (16, 576, 7168), (16, 4096, 7168)]
RATIOS = [1.25, 0.95, 1.0, None]


def shape(m: int, n: int, k: int, ratio: float | None, joules: float | None) -> dict[str, Any]:
    """Ours takes 10 µs, DeepGEMM `ratio` times that and twice the energy; it is not there where `ratio` is None."""
    ours = {"us": 10.0, "spread": 0.01, "mhz": 1700.0, "watts": None, "joules": joules}
    times = {"nvgemm": ours, "bf16": {**ours, "us": 20.0, "mhz": None, "joules": joules and 3 * joules}}
    if ratio is not None:
        times["deepgemm"] = {**ours, "us": 10 * ratio, "mhz": 1800.0, "joules": joules and 2 * joules}
    envelope = None if ratio is None else {"peer": "deepgemm", "us": 10 * ratio, "ratio": ratio}
    sizes = {"m": m, "n": n, "k": k, "flop": 2 * m * n * k, "bytes": m * k + n * k + 2 * m * n}
    return {**sizes, "times": times, "envelope": envelope, "retimed": False, "tensor_share": 0.5}


def facts(mode: str = "cold") -> dict[str, Any]:
    """A file's content, with four shapes."""
    joules = 0.004 if mode == "sustained" else None
    software = {"nvgemm": "0.1.0", "nvrtc": "13.0.88"}
    device = {"name": "A GPU", "num_sms": 100, "driver": "580.1", "memory_bandwidth": 3e12}
    names = {"nvgemm": "ours", "deepgemm": "a peer", "bf16": "without scales", "triton": "did not run"}
    head = {"schema": 1, "suite": "dense", "mode": mode, "date": "2026-11-22T05:00:00+00:00", "rounds": 30}
    head |= {"command": "nvgemm bench --json $HOME/dense", "device": device, "software": software, "contenders": names}
    shapes = [shape(*size, ratio, joules) for size, ratio in zip(SIZES, RATIOS, strict=True)]
    summary = [{"range": "M ≤ 128", "shapes": 3, "geomean": 1.1, "least": 0.95, "lost": ["8192x8192x8192"]}]
    return {**head, "same_job": ["deepgemm", "triton"], "shapes": shapes, "summary": summary}


def write(folder: Path, content: Any, name: str = "results.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def cold(tmp_path) -> Results:
    return read(write(tmp_path, facts("cold")))


@pytest.fixture
def sustained(tmp_path) -> Results:
    return read(write(tmp_path, facts("sustained")))


@pytest.fixture
def drawing():
    """The style of the plots in force; skips where matplotlib is missing."""
    pytest.importorskip("matplotlib")
    from nvgemm.bench.plot_style import style

    with style():
        yield


def test_a_file_is_read(cold, sustained) -> None:
    assert (cold.name, sustained.name) == ("dense-cold", "dense-sustained")
    assert cold.contenders == ("nvgemm", "deepgemm", "bf16")  # triton has no time
    assert [cold.is_same_job(name) for name in cold.contenders] == [True, True, False]
    first, last = cold.shapes[0], cold.shapes[-1]
    assert first.times["deepgemm"] == Time(us=12.5, mhz=1800.0, joules=None)
    assert (first.peer, first.ratio) == ("deepgemm", 1.25)
    assert (last.peer, last.ratio) == (None, None)
    assert first.tflops("nvgemm") == pytest.approx(2 * 64 * 576 * 7168 / 10e-6 * 1e-12)
    assert first.intensity == first.flop / first.bytes
    assert first.joules == {}
    assert sustained.shapes[0].joules == {"nvgemm": 0.004, "deepgemm": 0.008, "bf16": 0.012}


def test_roofs(tmp_path, cold) -> None:
    assert cold.median_mhz == 1700  # four of ours, three of the peer
    assert cold.tensor_roof == 8192 * 100 * 1700e6
    assert cold.memory_roof == 3e12
    content = facts()
    for each in content["shapes"]:
        for time in each["times"].values():
            time["mhz"] = None
    unclocked = read(write(tmp_path, content))
    assert unclocked.median_mhz is None
    assert unclocked.tensor_roof == 8192 * 100 * 1980e6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema is 2; plots are made of schema 1"),
        ({"mode": "warm"}, "mode is 'warm', not one of cold, sustained"),
        ({"suite": "../dense"}, "suite is '../dense'"),
        ({"shapes": []}, "shapes is empty"),
        ({"shapes": [{"m": 1}]}, "is missing"),
        ({"shapes": 3}, "not iterable"),
        ({"date": "yesterday"}, "yesterday"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, change, message) -> None:
    path = write(tmp_path, {**facts(), **change})
    with pytest.raises(ValueError, match=message) as refused:
        read(path)
    assert str(refused.value).startswith(f"{path}: ")


@pytest.mark.parametrize("field", sorted(facts()))
def test_every_field_is_needed(tmp_path, field) -> None:
    content = facts()
    del content[field]
    with pytest.raises(ValueError, match=f"{field}"):
        read(write(tmp_path, content))


def test_what_is_not_json_is_refused(tmp_path) -> None:
    path = tmp_path / "table.txt"
    path.write_text("M N K")
    with pytest.raises(ValueError, match=r"table.txt"):
        read(path)


def test_two_files_of_one_name_are_refused(tmp_path) -> None:
    paths = [write(tmp_path, facts(), "a.json"), write(tmp_path, facts(), "b.json")]
    with pytest.raises(ValueError, match=r"a.json and .*b.json are both dense-cold"):
        plots.read_all(paths)
    assert len(plots.read_all([paths[0], write(tmp_path, facts("sustained"), "c.json")])) == 2


def dense_shapes() -> list[Shape]:
    return [Shape(m, n, k, 2 * m * n * k, 1, {}, None, None) for m, n, k in DENSE]


def test_a_run_that_was_broken_off_says_so(tmp_path, cold) -> None:
    broken_off = read(write(tmp_path, {**facts(), "complete": False}))
    assert "broken off" in subtitle(broken_off)
    assert subtitle(cold) == "A GPU · 2026-11-22 · cold: L2 flushed before each call, median of 30 rounds"


def test_every_contender_of_the_benchmark_has_a_colour() -> None:
    assert set(LOOKS) == {contender.name for line_up in peers.LINE_UPS.values() for contender in line_up}


def test_groups_keep_the_order_of_weights_and_sort_m(cold) -> None:
    groups = by_weights(cold.shapes)
    assert list(groups) == [(576, 7168), (8192, 8192), (4096, 7168)]
    assert [shape.m for shape in groups[576, 7168]] == [16, 64]


@pytest.mark.parametrize(("width", "count"), [(1000, 1), (40, 2), (30, 3), (1, 8)])
def test_lines_divide_no_group_and_lose_none(width, count) -> None:
    groups = list(by_weights(dense_shapes()).values())
    lines = in_lines(groups, width)
    assert [group for line in lines for group in line] == groups
    assert len(lines) == count


def test_spaced_ticks() -> None:
    assert spaced([1, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192], 4) == [1, 16, 64, 256, 1024, 4096]


def test_a_contender_without_a_colour_is_refused() -> None:
    assert len({each.colour for each in LOOKS.values()}) == len({each.marker for each in LOOKS.values()}) == len(LOOKS)
    with pytest.raises(ValueError, match="contender 'novel' has no colour"):
        look("novel")


def test_a_file_is_drawn_as_far_as_its_data_go(tmp_path, cold, sustained) -> None:
    assert set(plots.plots_of(cold)) == {"roofline", "speedup", "sweep"}
    assert set(plots.plots_of(sustained)) == {"energy", "sweep"}
    alone, unpowered = facts("cold"), facts("sustained")
    for each in alone["shapes"]:
        each["envelope"] = None
    for each in unpowered["shapes"]:
        each["times"]["nvgemm"]["joules"] = None
    assert set(plots.plots_of(read(write(tmp_path, alone)))) == {"roofline", "sweep"}
    assert set(plots.plots_of(read(write(tmp_path, unpowered)))) == {"sweep"}


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch, capsys) -> None:
    for name in ("matplotlib", "matplotlib.style"):
        monkeypatch.setitem(sys.modules, name, None)
    path = write(tmp_path, facts())
    assert plots.main([str(path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "plot: plots need matplotlib; install the extra nvgemm[bench]\n"
    assert not (tmp_path / "out").exists()


def test_nothing_to_draw_is_wrong_usage_of_the_tool(tmp_path) -> None:
    command = [sys.executable, ROOT / "tools" / "plot.py", "--out", tmp_path]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2
    assert "nothing to draw: give a file of nvgemm bench --json, or --error" in result.stderr


def test_promotion_keeps_the_error_of_one_block() -> None:
    errors = error_against_k((128, 512, 2048), rows=8, columns=64)
    short, _, deep = errors
    assert short.promoted == short.unpromoted  # one block has nothing to promote
    assert deep.promoted[0] == pytest.approx(short.promoted[0], rel=0.25)
    medians = [error.unpromoted[0] for error in errors]
    assert medians == sorted(medians)
    assert deep.unpromoted[0] > 4 * deep.promoted[0]
    for error in errors:
        assert error.bf16[0] == pytest.approx(1.66e-3, rel=0.15)  # rounding to 8 bits
        assert all(0 < median <= worst < 0.01 for median, worst in (error.promoted, error.unpromoted, error.bf16))
    assert error_against_k((128, 512, 2048), rows=8, columns=64) == errors


@pytest.mark.parametrize("k", [0, 100, -128])
def test_error_against_k_refuses_part_of_a_block(k) -> None:
    with pytest.raises(ValueError, match=f"K = {k} is not a positive multiple of 128"):
        error_against_k([128, k])


def line(axes: Any, label: str) -> tuple[list[float], list[float]]:
    found = [each for each in axes.get_lines() if each.get_label() == label]
    assert len(found) == 1, label
    return list(found[0].get_xdata()), list(found[0].get_ydata())


def heights(axes: Any, label: str) -> list[float]:
    containers = [container for container in axes.containers if container.get_label() == label]
    return [patch.get_height() for container in containers for patch in container.patches]


def ticks(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


@pytest.mark.usefixtures("drawing")
def test_roofline(cold) -> None:
    from nvgemm.bench.plot_lines import roofline

    axes = roofline(cold).axes[0]
    x, y = line(axes, "nvgemm")
    assert x == [shape.intensity for shape in cold.shapes]
    assert y == [shape.tflops("nvgemm") for shape in cold.shapes]
    assert len(line(axes, "fastest peer: DeepGEMM")[0]) == 3
    roof = next(each for each in axes.get_lines() if len(each.get_xdata()) == 3 and each.get_color() == "black")
    tensor = 8192 * 100 * 1700e6 * 1e-12
    assert roof.get_xdata()[1] == pytest.approx(tensor / 3)
    assert list(roof.get_ydata())[1:] == pytest.approx([tensor, tensor])
    assert "1700 MHz, the median measured" in " ".join(texts(axes))


@pytest.mark.usefixtures("drawing")
def test_speedup(cold) -> None:
    from nvgemm.bench.plot_bars import speedup

    axes = speedup(cold).axes[0]
    assert heights(axes, "nvgemm") == pytest.approx([0.0, 0.25])  # M = 16, then 64
    assert heights(axes, "nvgemm: below 0.98") == pytest.approx([-0.05])
    assert ticks(axes) == ["M = 16", "64", "M = 8192"]  # the shape without a peer is not compared
    assert {"1.00", "1.25", "0.950", "N×K = 576×7168", "N×K = 8192×8192"} <= set(texts(axes))
    low, high = axes.get_ylim()
    assert low < 0.95
    assert high > 1.25


@pytest.mark.usefixtures("drawing")
def test_speedup_of_the_suite_has_all_bars_with_their_own_sizes(tmp_path) -> None:
    from nvgemm.bench.plot_bars import speedup

    made = speedup(read(write(tmp_path, {**facts(), "shapes": [shape(*size, 1.5, None) for size in DENSE]})))
    assert sum(len(heights(axes, "nvgemm")) for axes in made.axes) == len(DENSE)
    sizes = [label.removeprefix("M = ") for axes in made.axes for label in ticks(axes)]
    assert sizes == [str(m) for m, _, _ in DENSE]


@pytest.mark.usefixtures("drawing")
def test_sweep(cold, sustained) -> None:
    from nvgemm.bench.plot_lines import sweep

    made = sweep(cold)
    titles = [axes.get_title() for axes in made.axes]
    assert titles == ["N×K = 576×7168", "N×K = 8192×8192", "N×K = 4096×7168"]
    x, y = line(made.axes[0], "nvgemm")
    assert (x, y) == ([16, 64], [cold.shapes[2].tflops("nvgemm"), cold.shapes[0].tflops("nvgemm")])
    assert line(made.axes[0], "BF16 (another job)")[1] == pytest.approx([each / 2 for each in y])
    assert "DeepGEMM" not in made.axes[2].get_legend_handles_labels()[1]
    assert "sustained" in sweep(sustained).texts[0].get_text()


@pytest.mark.usefixtures("drawing")
def test_a_line_breaks_where_a_contender_lacks_a_shape(tmp_path) -> None:
    from nvgemm.bench.plot_lines import sweep

    content = facts()
    content["shapes"] = [shape(m, 576, 7168, 1.1 if m != 64 else None, None) for m in (16, 64, 256)]
    _, y = line(sweep(read(write(tmp_path, content))).axes[0], "DeepGEMM")
    assert [math.isnan(value) for value in y] == [False, True, False]


@pytest.mark.usefixtures("drawing")
def test_energy(tmp_path) -> None:
    from nvgemm.bench.plot_bars import energy

    content = facts("sustained")
    content["shapes"][0]["times"]["deepgemm"]["joules"] = 0.005
    axes = energy(read(write(tmp_path, content))).axes[0]
    assert heights(axes, "nvgemm") == [1, 1]
    assert heights(axes, "DeepGEMM") == pytest.approx([2, 1.25])
    assert heights(axes, "BF16 (another job)") == [2.2, 2.2]  # cut, with the figure above
    assert texts(axes) == ["3.0", "3.0"]
    flop = 2 * 64 * 576 * 7168
    assert ticks(axes)[1] == f"64\n4 mJ\n{0.004 / flop * 1e12:.3g} pJ"


@pytest.mark.usefixtures("drawing")
def test_error_plot() -> None:
    from nvgemm.bench.plot_lines import error_plot

    errors = error_against_k((128, 256), rows=4, columns=16)
    axes = error_plot(errors).axes[0]
    assert ticks(axes) == ["128", "256"]
    drawn = [list(each.get_ydata()) for each in axes.get_lines()]
    assert drawn == [[getattr(error, way)[0] for error in errors] for way in ("unpromoted", "promoted", "bf16")]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert np.isin([error.unpromoted[1] for error in errors], band).all()


def draw(folder: Path, *paths: Path) -> dict[str, bytes]:
    assert plots.main([*map(str, paths), "--out", str(folder)]) == 0
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_data_give_the_same_files(tmp_path, capsys) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    paths = [write(tmp_path, facts(), "cold.json"), write(tmp_path, facts("sustained"), "sustained.json")]
    first = draw(tmp_path / "first", *paths)
    expected = ("cold-roofline", "cold-speedup", "cold-sweep", "sustained-energy", "sustained-sweep")
    assert set(first) == {f"dense-{name}.{suffix}" for name in expected for suffix in ("png", "svg")}
    assert set(capsys.readouterr().out.split()) == {str(tmp_path / "first" / name) for name in first}
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": None}):  # a user's own settings
        assert draw(tmp_path / "second", *paths) == first
    for name, content in first.items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
        if name.endswith("svg"):
            assert b"A GPU \xc2\xb7 2026-11-22" in content
            assert b"$ nvgemm bench - -json $HOME/dense" in content  # a comment may not hold two hyphens
            assert b"dc:date" not in content


def test_one_format_and_an_unknown_contender(tmp_path, capsys) -> None:
    pytest.importorskip("matplotlib")
    content = facts()
    path = write(tmp_path, content)
    assert plots.main([str(path), "--out", str(tmp_path / "png"), "--format", "png"]) == 0
    assert {each.suffix for each in (tmp_path / "png").iterdir()} == {".png"}
    content["contenders"]["novel"] = "a peer that nobody gave a colour"
    content["shapes"][0]["times"]["novel"] = content["shapes"][0]["times"]["bf16"]
    assert plots.main([str(write(tmp_path, content)), "--out", str(tmp_path / "novel")]) == 1
    assert "contender 'novel' has no colour" in capsys.readouterr().err
