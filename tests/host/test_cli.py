"""The command line: each subcommand's output and exit code, without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import output

import nvgemm
from nvgemm import cli, commands, settings
from nvgemm.runtime import driver

ROOT = Path(__file__).resolve().parents[2]
SHAPE = ["--dense", "256", "512", "512"]

pytestmark = pytest.mark.usefixtures("shared_cache")


def test_info_names_every_setting(capsys: pytest.CaptureFixture[str], shared_cache: str) -> None:
    text = output(capsys, "info")
    assert all(variable in text for variable in settings.VARIABLES.values())
    facts = json.loads(output(capsys, "info", "--json"))
    assert facts["nvgemm"] == nvgemm.__version__
    assert facts["cache"]["directory"] == shared_cache
    assert facts["settings"]["sass"] == {"value": "s2e2", "variable": "NVGEMM_SASS"}


def test_info_tells_the_tables_of_a_device(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    h200 = driver.Device(0, "H200", (9, 0), 132, 1_980_000, 50 << 20, 4_800_000_000_000, 232_448)
    devices = [h200, h200._replace(ordinal=1, name="H20", num_sms=78)]
    monkeypatch.setattr(driver, "driver_version", lambda: (13, 0))
    monkeypatch.setattr(driver, "device_count", lambda: 2)
    monkeypatch.setattr(driver, "device", devices.__getitem__)
    text = output(capsys, "info")
    assert "H200, compute capability 9.0, 132 SMs; tables of measured blocks: h200" in text
    assert "H20, compute capability 9.0, 78 SMs; tables of measured blocks: none has as many SMs" in text


def test_explain_weighs_candidates_against_floors(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(output(capsys, "explain", "2048", "4104", "7168", "--json"))
    times = [row["predicted_us"] for row in facts["candidates"]]
    assert times == sorted(times)
    assert facts["chosen"]["predicted_us"] == times[0]
    assert not facts["chosen"]["measured"]
    assert max(facts["floor"]["tensor_us"], facts["floor"]["memory_us"]) < times[0]
    assert all(0 < row["full"] <= 1 and row["ctas"] * row["waves"] >= row["tiles"] for row in facts["candidates"])
    text = output(capsys, "explain", "2048", "4104", "7168")
    assert text.count("\n  *") == 1
    assert "least predicted time, predicted" in text


def test_fewer_sms_are_another_choice(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(output(capsys, "explain", "4096", "4096", "7168", "--num-sms", "77", "--json"))
    assert facts["device"]["num_sms"] == 77
    assert all(row["ctas"] <= 77 for row in facts["candidates"])
    few, all_sms = (
        json.loads(output(capsys, "compile", "--dense", "200", "576", "512", "--json", *more))["constants"]
        for more in (("--num-sms", "3"), ())
    )
    assert few != all_sms
    assert cli.main(["compile", "--dense", "64", "64", "128", "--num-sms", "0"]) == 1
    assert "num_sms: expected 1 or more, got 0" in capsys.readouterr().err


def test_explain_tells_that_blocks_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain", "256", "7168", "16384")
    assert "chosen  128×112, 6 stages, 2 consumers: measured as the fastest" in text
    assert text.count("\n  *") == 1


def test_explain_refuses_a_shape_without_a_kernel(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "64", "100", "128"]) == 1
    assert "N % 8 == 0" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["info", "explain", "sass", "compile", "demo", "bench", "latency", "tune"])
def test_every_command_has_help_and_json(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert text.startswith(f"usage: nvgemm {command} ")
    assert "--json" in text
    assert f"\n  {command} " in output(capsys)


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "info", interrupt)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "nvgemm info: interrupted\n"


def test_compile_as_json(capsys: pytest.CaptureFixture[str], shared_cache: str) -> None:
    facts = json.loads(output(capsys, "compile", *SHAPE, "--json"))
    assert Path(facts["path"]).parent == Path(shared_cache)
    assert facts["constants"]["SHAPE_N"] == 512
    assert facts["policy"] == "s2e2"


def test_compile_prints_the_entry(capsys: pytest.CaptureFixture[str], shared_cache: str) -> None:
    path = Path(output(capsys, "compile", *SHAPE).strip())
    assert path.parent == Path(shared_cache)
    expected = {"kernel.cubin", "kernel.raw.cubin", "kernel.cu", "config.cuh", "meta.json"}
    assert expected <= {file.name for file in path.iterdir()}


def test_emitted_folder_compiles_by_itself(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "emitted"
    assert output(capsys, "compile", *SHAPE, "--emit", str(folder)).strip() == str(folder)
    texts = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.cu*") if p.suffix != ".cubin"}
    from nvgemm.runtime import nvrtc
    from nvgemm.runtime.specialize import Source

    source = Source("kernel", texts)
    assert nvrtc.compiler().compile(source).cubin == (folder / "kernel.raw.cubin").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [["compile", "--dense", "64", "2111", "512"], ["compile", "--dense", "64", "64", "-8"]],
)
def test_mistakes_end_with_exit_code_1(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["nonsense"], ["compile"]])
def test_wrong_usage_ends_with_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "debug", 1)
    with pytest.raises(FileNotFoundError):
        cli.main(["sass", "show", "/no/such/file"])


def test_module_can_be_run_and_its_output_cut_off() -> None:
    command = f"{sys.executable} -m nvgemm info | head -1"
    result = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout.startswith("nvgemm")
    assert result.stderr == ""
