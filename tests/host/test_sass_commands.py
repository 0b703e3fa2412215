"""``nvgemm sass``: every subcommand on every kind of source, and every mistake told in a sentence."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from command_line import output
from sass_compile import nvrtc_cubin, promotion_cubin

from nvgemm import cli, sass_commands
from nvgemm.sass import policy
from nvgemm.sass.report import disassembler

SHAPE = ("--dense", "256", "512", "512")
GROUPED = ("--grouped", "masked", "4", "64", "512", "512", "--expected-m", "20")
OF_ONE_SOURCE = ("show", "stats", "policies", "verify")

pytestmark = pytest.mark.usefixtures("shared_cache")


@pytest.fixture
def entry(capsys: pytest.CaptureFixture[str]) -> str:
    return output(capsys, "compile", *SHAPE).strip()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("action", OF_ONE_SOURCE)
def test_a_shape_an_entry_and_a_file_agree(capsys: pytest.CaptureFixture[str], action: str, entry: str) -> None:
    of_shape = output(capsys, "sass", action, *SHAPE)
    assert of_shape == output(capsys, "sass", action, entry)
    assert of_shape == output(capsys, "sass", action, f"{entry}/kernel.raw.cubin", "--policy", "s2e2")
    assert json.loads(output(capsys, "sass", action, entry, "--json"))


@pytest.mark.parametrize("action", OF_ONE_SOURCE)
def test_grouped_kernels(capsys: pytest.CaptureFixture[str], action: str) -> None:
    assert output(capsys, "sass", action, *GROUPED)
    facts = json.loads(output(capsys, "compile", *GROUPED, "--json"))
    assert facts["constants"]["SHAPE_N"] == 512


def test_a_page_is_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    assert output(capsys, "sass", "show", *SHAPE, "--html", str(file)) == f"{file}\n"
    assert file.read_text().startswith("<!doctype html>")
    assert "<h1>dense 256 512 512</h1>" in file.read_text()


def test_an_entry_whose_policy_was_refused_is_shown_as_it_runs(
    capsys: pytest.CaptureFixture[str], entry: str, tmp_path: Path
) -> None:
    meta = json.loads(Path(entry, "meta.json").read_text())
    raw = Path(entry, "kernel.raw.cubin").read_bytes()
    for name, content in (("kernel.cubin", raw), ("kernel.raw.cubin", raw)):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "refusal": "rule 6: …"}))
    assert output(capsys, "sass", "show", str(tmp_path)).startswith("policy asis\n")


def test_verify_of_two_files_and_diff(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    raw = promotion_cubin(64)
    patched = policy.apply(raw, "e2p1")
    for name, content in (("raw", raw), ("patched", patched), ("broken", patched[:-1] + b"\x7f")):
        (tmp_path / name).write_bytes(content)
    a, b, broken = (str(tmp_path / name) for name in ("raw", "patched", "broken"))
    assert "All rules of the verifier hold." in output(capsys, "sass", "verify", a, "--patched", b)
    assert json.loads(output(capsys, "sass", "verify", a, "--patched", b, "--json"))["changed"]
    assert "differ" in refusal(capsys, "sass", "verify", a, "--patched", broken)
    assert " ~ 0x" in output(capsys, "sass", "diff", a, b)
    assert not json.loads(output(capsys, "sass", "diff", a, a, "--json"))["functions"][0]["control"]
    assert "PATCHED" in refusal(capsys, "sass", "verify", *SHAPE, "--patched", b)
    assert output(capsys, "sass", "verify", a, "--patched", b, "--policy", "e2p1")
    assert "rule 10" in refusal(capsys, "sass", "verify", a, "--patched", a, "--policy", "e2p1")


def junk() -> list[bytes]:
    generator, real = random.Random(11), promotion_cubin(64)
    other = nvrtc_cubin(b'extern "C" __global__ void none() {}', {}, "sm_80")
    narrow = real[:4] + b"\1" + real[5:]
    return [b"", b"not an ELF file", generator.randbytes(4000), real[:999], real[:-9], other, narrow, b"\x7fELF" * 64]


@pytest.mark.parametrize("number", range(len(junk())))
@pytest.mark.parametrize("action", OF_ONE_SOURCE)
def test_what_is_no_cubin_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, action: str, number: int
) -> None:
    (tmp_path / "file").write_bytes(junk()[number])
    more = ("--html", str(tmp_path / "page")) if action == "show" else ()
    assert refusal(capsys, "sass", action, str(tmp_path / "file"), *more).startswith("nvgemm sass: cubin: ")
    assert "cubin: " in refusal(capsys, "sass", "diff", str(tmp_path / "file"), str(tmp_path / "file"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "/no/such/file"), "No such file"),
        (("show", *SHAPE, "--policy", "e2p9"), "SASS policy 'e2p9'"),
        (("show", "--grouped", "heaps", "4", "64", "512", "512"), "layout: expected batched"),
        (("show", "--grouped", "masked", "4", "64", "512", "many"), "expected numbers for G, M, N and K"),
        (("stats", "--grouped", "masked", "4", "64", "513", "512"), "N % 8 == 0"),
        (("stats", "--grouped", "masked", "0", "64", "512", "512"), "groups: expected 1 or more"),
        (("stats", "--grouped", "masked", "4000", "64", "512", "512"), "at most 1024 groups"),
        (("stats", *SHAPE, "--expected-m", "3"), "--dense has no groups"),
    ],
)
def test_mistakes_end_with_exit_code_1(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    assert words in refusal(capsys, "sass", *arguments)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["show"], ["diff", "one"], ["show", "file", *SHAPE]])
def test_wrong_usage_ends_with_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["sass", *arguments])
    assert stop.value.code == 2


@pytest.mark.parametrize("line", sass_commands.CONTENTS.splitlines())
def test_every_subcommand_has_help_and_json(capsys: pytest.CaptureFixture[str], line: str) -> None:
    name = line.split()[0]
    with pytest.raises(SystemExit) as stop:
        cli.main(["sass", name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert text.startswith(f"usage: nvgemm sass {name} ")
    assert "--json" in text


def test_without_a_disassembler_all_works(
    capsys: pytest.CaptureFixture[str], entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disassembler, "find", lambda: None)
    assert output(capsys, "sass", "show", entry).rstrip().endswith(disassembler.INSTALL)
    monkeypatch.setattr(disassembler, "find", lambda: "/bin/false")
    assert "nvdisasm refuses the cubin" in output(capsys, "sass", "show", entry)
    monkeypatch.setattr(disassembler, "find", lambda: "/no/such/program")
    assert "nvdisasm could not be run" in output(capsys, "sass", "show", entry)


BAD_POLICY = '{"refusal": null, "policy": "\\u001b[2Jx"}'


@pytest.mark.parametrize("meta", [None, "", "{", "{}", "[]", '{"policy": "s2e2"}', BAD_POLICY])
def test_a_folder_that_is_no_entry_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, meta: str | None
) -> None:
    if meta is not None:
        (tmp_path / "meta.json").write_text(meta)
    told = refusal(capsys, "sass", "show", str(tmp_path))
    assert f"{tmp_path}: no cache entry of nvgemm" in told
    assert "\x1b" not in told


def test_what_is_no_file_is_not_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Neither a device without an end nor a pipe that nobody writes into."""
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe")):
        assert f"{path}: expected a regular file of at most" in refusal(capsys, "sass", "stats", path)
    (tmp_path / "meta.json").symlink_to(tmp_path / "pipe")
    assert f"{tmp_path}: no cache entry" in refusal(capsys, "sass", "stats", str(tmp_path))


def test_a_page_does_not_take_the_place_of_its_kernel(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, entry: str
) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(promotion_cubin(64))
    assert "name another file" in refusal(capsys, "sass", "show", str(file), "--html", str(file))
    assert file.read_bytes() == promotion_cubin(64)
    (tmp_path / "also").hardlink_to(file)
    assert "name another file" in refusal(capsys, "sass", "show", str(file), "--html", str(tmp_path / "also"))
    inside = str(Path(entry, "kernel.cubin"))
    assert "name another file" in refusal(capsys, "sass", "show", entry, "--html", inside)
    assert output(capsys, "sass", "show", entry, "--html", str(tmp_path / "page.html"))


def test_an_empty_policy_is_none_at_all(capsys: pytest.CaptureFixture[str], entry: str) -> None:
    assert "SASS policy ''" in refusal(capsys, "sass", "show", f"{entry}/kernel.cubin", "--policy", "")
