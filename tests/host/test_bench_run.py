"""A run of a suite and the command around it, on a machine without GPU and torch: both are stand-ins here."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nvgemm import cli
from nvgemm.bench import command, libraries, nvml, peers, results, run, table
from nvgemm.bench.cold import Times
from nvgemm.bench.run import Bench
from nvgemm.bench.shapes import DenseShape

SHAPES = [DenseShape(m, 128, 256) for m in (64, 512, 4096)]
DEVICE = SimpleNamespace(name="H100", num_sms=132, memory_bandwidth=3352320000000)


class Tensor(np.ndarray):
    """As much of a torch tensor as the check of a result needs."""

    def float(self) -> Tensor:
        return self

    def norm(self) -> float:
        return float(np.linalg.norm(self))

    def fill_(self, value: float) -> None:
        self.fill(value)


class Operands:
    """An exact result, and the one `d` that all contenders write."""

    def __init__(self, torch: object, shape: DenseShape) -> None:
        self.name, self.d = shape.name, np.zeros((4, 4)).view(Tensor)

    def clear(self) -> None:
        self.d.fill_(float("nan"))

    def valid(self, result: Tensor) -> Tensor:
        return result

    def exact(self) -> Tensor:
        return np.arange(1.0, 17.0).reshape(4, 4).view(Tensor)


class OutOfMemoryError(RuntimeError):
    pass


def contender(name: str, write: Callable[[Operands], object]) -> peers.Contender:
    def launcher(operands: Operands) -> Callable[[], Tensor]:
        def launch() -> Tensor:
            write(operands)
            return operands.d

        return launch

    return peers.Contender(name, f"{name} of a test", True, launcher)


def whole(operands: Operands) -> None:
    operands.d[:] = operands.exact()


OURS = contender("nvgemm", whole)


@pytest.fixture(autouse=True)
def _machine(monkeypatch) -> None:
    torch = SimpleNamespace(__version__="2.11", cuda=SimpleNamespace(OutOfMemoryError=OutOfMemoryError))
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(run.driver, "require_hopper", lambda ordinal: DEVICE)
    monkeypatch.setattr(nvml, "driver_version", lambda: nvml.Answer("580.1", None))
    monkeypatch.setattr(nvml, "joules", lambda: nvml.Answer(None, "ModuleNotFoundError: pynvml"))
    monkeypatch.setattr(run.cold, "Flush", lambda torch: None)
    monkeypatch.setitem(run.OPERANDS, "dense", Operands)
    monkeypatch.setattr(run, "contenders", lambda suite, names: ([OURS, contender("deepgemm", whole)], {}))


def bench(*others: peers.Contender, mode: str = "cold") -> Bench:
    made = Bench("dense", mode, SHAPES, rounds=7, seconds=0.5, command="nvgemm bench")
    made._contenders = [OURS, *others]
    return made


def times(ours: float, theirs: float = 12.0) -> dict[str, Times]:
    return {"nvgemm": Times(ours, 0.0), "deepgemm": Times(theirs, 0.0)}


def measured(*runs: dict[str, Times] | BaseException) -> Callable[..., dict[str, Times]]:
    """Gives these one after the other, as the measurement of whatever shape."""
    left: Iterator[dict[str, Times] | BaseException] = iter(runs)

    def measure(shape: DenseShape) -> dict[str, Times]:
        if isinstance(found := next(left), BaseException):
            raise found
        return found

    return measure


def test_what_is_lost_is_timed_again_and_every_shape_told():
    made, told = bench(), list[Any]()
    made._measure = measured(times(10.0), times(12.5), times(13.0), times(11.0), times(13.5))
    made.run(told.append)
    done = made.finish()
    assert [results.name(shape) for shape in told] == [
        "64x128x256", "512x128x256", "4096x128x256", "512x128x256", "4096x128x256",
    ]  # fmt: skip
    assert [shape["retimed"] for shape in told] == [False, False, False, True, True]
    assert done["shapes"] == [told[0], told[3], told[4]]
    assert [shape["times"]["nvgemm"]["us"] for shape in done["shapes"]] == [10.0, 12.5, 13.0]
    assert done["shapes"][1]["again"]["ratio"] == pytest.approx(12 / 11)
    assert [part["lost"] for part in done["summary"]] == [[], [], ["4096x128x256"]]
    assert done["complete"]


@pytest.mark.parametrize("mode", ["cold", "sustained"])
def test_the_header_says_what_the_mode_used(mode, monkeypatch):
    monkeypatch.setattr(results.metadata, "version", {"nvidia-cublas": "13.2"}.__getitem__)
    monkeypatch.setattr(results.metadata, "PackageNotFoundError", KeyError)
    head = bench(mode=mode).results
    assert (head["rounds"], head["seconds"]) == ((7, None) if mode == "cold" else (None, 0.5))
    assert head["power"] == (None if mode == "cold" else "ModuleNotFoundError: pynvml")
    assert head["device"]["driver"] == "580.1"
    assert head["software"].items() >= {"torch": "2.11", "nvidia-cublas": "13.2"}.items()
    assert "nvidia-cublas-cu12" not in head["software"]
    assert head["same_job"] == ["deepgemm"]


def half(operands: Operands) -> None:
    operands.d[:2] = operands.exact()[:2]


@pytest.mark.parametrize("write", [lambda operands: None, half], ids=["nothing", "a half"])
def test_a_result_that_another_contender_left_is_no_result(write):
    with pytest.raises(RuntimeError, match="idle is wrong at 64x128x256: relative error nan"):
        bench(contender("idle", write))._launches(Operands(None, SHAPES[0]))


def refuse(operands: Operands) -> None:
    raise RuntimeError("no kernel\nat all")


def test_a_refusal_is_told_and_an_exhausted_memory_is_none():
    made = bench(contender("deepgemm", refuse), contender("bf16", whole))
    assert list(made._launches(Operands(None, SHAPES[0]))) == ["nvgemm", "bf16"]
    assert made.results["refused"] == {"deepgemm": {"64x128x256": "no kernel"}}
    assert "deepgemm refused 1 shapes: no kernel" in table.foot(made.finish())

    def exhausted(operands: Operands) -> None:
        raise OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemoryError):
        bench(contender("deepgemm", exhausted))._launches(Operands(None, SHAPES[0]))


def test_under_load_a_contender_runs_all_sets_of_operands_or_none(monkeypatch):
    monkeypatch.setattr(run.sustained, "sets_of", lambda size: 3)
    monkeypatch.setattr(run.sustained, "measure", lambda torch, runs, seconds: {k: len(v) for k, v in runs.items()})
    able = bench(contender("deepgemm", refuse), contender("bf16", whole), mode="sustained")
    assert able._measure(SHAPES[0]) == {"nvgemm": 3, "bf16": 3}
    calls: list[int] = []

    def tired(operands: Operands) -> None:
        calls.append(1)
        (whole if len(calls) < 3 else refuse)(operands)

    message = "deepgemm runs some operands of 64x128x256 and refuses others: no kernel"
    with pytest.raises(RuntimeError, match=message):
        bench(contender("deepgemm", tired), mode="sustained")._measure(SHAPES[0])


def call(monkeypatch, *arguments: str, argv: list[str], measure: Callable[..., Any]) -> int:
    """``nvgemm bench`` over the three shapes, measured by `measure`."""

    def make(*given: Any, **named: Any) -> Bench:
        made = Bench(*given, **named)
        made._measure = measure
        return made

    monkeypatch.setattr(command, "Bench", make)
    monkeypatch.setattr(sys, "argv", argv)
    shapes = [word for m, n, k in SHAPES for word in ("--shape", str(m), str(n), str(k))]
    return cli.main(["bench", *arguments, *shapes])


def test_an_interrupted_run_prints_what_it_has(monkeypatch, capsys):
    broken_off = measured(times(10.0), KeyboardInterrupt())
    assert call(monkeypatch, "--json", argv=["nvgemm", "bench"], measure=broken_off) == 130
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert not found["complete"]
    assert [results.name(shape) for shape in found["shapes"]] == ["64x128x256"]
    assert found["summary"][0]["geomean"] == pytest.approx(1.2)
    assert "64 |     128×256" in err
    assert "interrupted" in err


@pytest.mark.parametrize(
    "argv", [["/bin/nvgemm", "bench", "--x", "a b"], ["nvgemm/__main__.py", "bench", "--x", "a b"],
             ["tools/bench.py", "--x", "a b"]],
)  # fmt: skip
def test_the_command_is_one_that_a_shell_takes(monkeypatch, capsys, argv):
    assert call(monkeypatch, "--json", argv=argv, measure=measured(*[times(10.0)] * 3)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["complete"]
    assert shlex.split(found["command"]) == ["nvgemm", "bench", "--x", "a b"]


def test_another_mode_is_refused_before_anything_is_measured(monkeypatch, capsys, tmp_path):
    assert call(monkeypatch, "--json", argv=["bench"], measure=measured(*[times(10.0)] * 3)) == 0
    old = tmp_path / "old.json"
    old.write_text(capsys.readouterr().out)
    options = ["--compare", str(old)]
    assert call(monkeypatch, *options, argv=["bench"], measure=measured(*[times(8.0)] * 3)) == 0
    assert "nvgemm             1.250 times as fast" in capsys.readouterr().out
    untouched = measured()
    assert call(monkeypatch, *options, "--mode", "sustained", argv=["bench"], measure=untouched) == 1
    out, err = capsys.readouterr()
    assert "old.json: mode is 'cold', expected 'sustained'" in err
    assert out == ""


def test_a_grouped_suite_measures_the_shapes_that_are_asked_for(monkeypatch, capsys):
    asked: list[str] = []

    def make(*given: Any, **named: Any) -> Bench:
        made = Bench(*given, **named)
        made._measure = lambda shape: asked.append(shape.name) or times(10.0)
        return made

    monkeypatch.setattr(command, "Bench", make)
    names = ["g2:64x128x256:max64", "g6:20x4096x2048:max4096:jit"]
    shapes = [word for name in names for word in ("--shape", name)]
    assert cli.main(["bench", "--suite", "masked", *shapes]) == 0
    assert asked == names
    out = capsys.readouterr().out
    assert "| g6:20x4096x2048:max4096:jit |" in " ".join(out.split())
    assert "rows ≤ 20: 1.200 times the envelope (geomean of 1)" in out
    assert cli.main(["bench", "--suite", "contiguous", *shapes]) == 1
    assert "shape: one of the suite contiguous has no :max" in capsys.readouterr().err
    assert cli.main(["bench", "--suite", "contiguous", "--shape", "g2:64x132x256"]) == 1
    assert "N % 8 == 0" in capsys.readouterr().err


@pytest.mark.parametrize("suite", ["contiguous", "masked", "offsets", "chain"])
def test_every_suite_has_operands_and_contenders(suite):
    assert suite in run.OPERANDS
    assert peers.LINE_UPS[suite][0].name == "nvgemm"


@pytest.mark.parametrize(("library", "load"), [("torch", libraries.torch), ("cupy", libraries.cupy)])
def test_what_is_not_installed_is_named(monkeypatch, library, load):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=r"(PyTorch|CuPy) is not installed; "):
        load()
