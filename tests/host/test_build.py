"""`build` compiles once, under a key of all that decides the bytes; what is damaged or refused costs speed only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nvgemm import CompileError, SassError, SassWarning, settings
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Problem
from nvgemm.runtime import build as module
from nvgemm.runtime import cubin_cache, nvrtc, specialize
from nvgemm.runtime.build import Cubin, build
from nvgemm.runtime.sources import kernels_dir
from nvgemm.sass import PATCHER_VERSION
from nvgemm.sass import verify as verifier

SMALL = ("transpose_scales", {"ROWS_CONTIGUOUS": True})  # compiles in a tenth of a second
LARGE = ("fp8_gemm", select_config(Problem(4096, 4096, 512, True)).constants())

pytestmark = pytest.mark.usefixtures("cache_dir")


@pytest.fixture(autouse=True)
def _fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubin_cache, "_memory", {})


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Kernels that have been compiled."""
    kernels: list[str] = []
    compile_ = nvrtc.Nvrtc.compile

    def counted(self: nvrtc.Nvrtc, source: specialize.Source) -> nvrtc.Compiled:
        kernels.append(source.kernel)
        return compile_(self, source)

    monkeypatch.setattr(nvrtc.Nvrtc, "compile", counted)
    return kernels


def test_the_second_time_it_comes_from_the_cache(compiles):
    first, second = build(*SMALL), build(*SMALL)
    assert compiles == ["transpose_scales"]
    assert first == second
    assert first.path is not None
    assert first.meta["constants"] == SMALL[1]
    assert first.meta["compiler"] == nvrtc.compiler().version
    assert first.path.name.endswith(f".nvrtc-{first.meta['compiler']}")
    assert first.image[:4] == b"\x7fELF"


def test_an_entry_holds_all_that_was_compiled():
    cubin = build(*SMALL)
    source = specialize.specialize(*SMALL)
    assert set(cubin.files) == {"kernel.cu", *source.headers}
    assert cubin.files["kernel.cu"].decode() == source.text
    for name, content in {**cubin.files, "kernel.cubin": cubin.image, "kernel.raw.cubin": cubin.raw}.items():
        assert (cubin.path / name).read_bytes() == content
    assert {"registers", "spilled_bytes", "complaints", "log", "policy", "seconds"} <= set(cubin.meta)
    assert json.loads((cubin.path / "meta.json").read_bytes()) == cubin.meta


def edit_a_header(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    shutil.copytree(kernels_dir(), folder)
    (folder / "types.cuh").write_text((folder / "types.cuh").read_text() + "// edited\n")
    monkeypatch.setattr(specialize, "kernels_dir", lambda: folder)


def edit_the_kernel(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    shutil.copytree(kernels_dir(), folder)
    path = folder / "transpose_scales.cu"
    path.write_text(path.read_text() + "\n")
    monkeypatch.setattr(specialize, "kernels_dir", lambda: folder)


def other_options(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(nvrtc, "OPTIONS", (*nvrtc.OPTIONS, "--use_fast_math"))


def newer_patcher(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(module, "PATCHER_VERSION", PATCHER_VERSION + 1)


@pytest.mark.parametrize("change", [edit_a_header, edit_the_kernel, other_options, newer_patcher])
def test_what_the_key_depends_on(change, tmp_path, monkeypatch, compiles):
    first = build(*SMALL)
    change(monkeypatch, tmp_path / "kernels_cu")
    second = build(*SMALL)
    assert len(compiles) == 2
    assert first.path != second.path


def test_the_key_depends_on_policy_and_constants(compiles):
    kernel, constants = SMALL
    paths = {build(kernel, constants, name).path for name in ("asis", "none", "s2e2")}
    paths.add(build(kernel, {"ROWS_CONTIGUOUS": False}).path)
    assert len(paths) == len(compiles) == 4


@pytest.mark.parametrize("file", ["kernel.cubin", "kernel.raw.cubin", "meta.json"])
def test_a_damaged_entry_is_built_again(file, compiles):
    good = build(*SMALL)
    (good.path / file).write_bytes((good.path / file).read_bytes()[:-7])
    again = build(*SMALL)
    assert len(compiles) == 2
    assert (again.path, again.raw) == (good.path, good.raw)
    assert build(*SMALL).image == good.image
    assert len(compiles) == 2


def never_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("the compiler is not needed")

    monkeypatch.setattr(settings, "compile", "never")
    monkeypatch.setattr(nvrtc, "compiler", refuse)


def test_never_compile(monkeypatch):
    good = build(*SMALL)
    never_compiles(monkeypatch)
    assert build(*SMALL) == good
    with pytest.raises(CompileError, match=r"transpose_scales: no cubin is cached .*NVGEMM_COMPILE is 'never'"):
        build("transpose_scales", {"ROWS_CONTIGUOUS": False})


def test_never_compile_takes_another_compilers_cubin(monkeypatch):
    good = build(*SMALL)
    kernel, key, _ = good.path.name.split(".", 2)
    files = {**good.files, "kernel.cubin": b"\x7fELF other", "kernel.raw.cubin": b"\x7fELF other"}
    shutil.rmtree(good.path)
    cubin_cache.put(kernel, key, "12.8", files, {**good.meta, "compiler": "12.8"})
    never_compiles(monkeypatch)
    assert build(*SMALL).meta["compiler"] == "12.8"


def test_another_compilers_cubin_is_not_taken_otherwise(compiles, monkeypatch):
    first = build(*SMALL)
    monkeypatch.setattr(nvrtc, "version", lambda wanted=None: "99.0")
    monkeypatch.setattr(nvrtc.compiler(), "version", "99.0")
    second = build(*SMALL)
    assert (len(compiles), second.meta["compiler"]) == (2, "99.0")
    assert first.path != second.path


def test_large_kernels_are_patched_and_keep_the_raw_cubin():
    patched, raw = build(*LARGE, policy="s2e2"), build(*LARGE, policy="asis")
    assert patched.meta["changed_words"] > 0 == raw.meta["changed_words"]
    assert patched.raw == raw.raw == raw.image != patched.image
    assert differing_words(patched) <= patched.meta["changed_words"] * 2


def differing_words(cubin: Cubin) -> int:
    return sum(cubin.image[i : i + 8] != cubin.raw[i : i + 8] for i in range(0, len(cubin.raw), 8))


def test_a_refused_patch_leaves_the_compilers_cubin(monkeypatch):
    def refuse(*_: object) -> None:
        raise SassError("register 7 is read too early", rule=7, index=12)

    monkeypatch.setattr(verifier, "verify", refuse)
    with pytest.warns(SassWarning, match="fp8_gemm: policy s2e2 is not applied, rule 7: register 7 is read too early"):
        cubin = build(*LARGE, policy="s2e2")
    assert cubin.image == cubin.raw
    assert cubin.meta["changed_words"] == 0


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(ValueError, match="e0q"):
        build(*SMALL, policy="e0q")


def test_unwritable_cache(tmp_path, monkeypatch, compiles):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(settings, "cache_dir", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(cubin_cache, "_warned", {tmp_path / "file" / "cache"})
    first, second = build(*SMALL), build(*SMALL)
    assert first == second
    assert first.path is None
    assert len(compiles) == 1


def test_without_a_compiler_any_cached_cubin_is_taken(compiles, monkeypatch):
    def missing(wanted: object = None) -> str:
        raise CompileError("NVRTC was not found")

    first = build(*SMALL)
    monkeypatch.setattr(nvrtc, "version", missing)
    monkeypatch.setattr(nvrtc, "compiler", missing)
    assert build(*SMALL).path == first.path
    with pytest.raises(CompileError, match="NVRTC was not found"):
        build(*LARGE)


DEBUG = [(0, []), (1, ["compiled", "ROWS_CONTIGUOUS="]), (2, ["ROWS_CONTIGUOUS=", "sm_90a", "registers"])]


@pytest.mark.parametrize(("debug", "told"), DEBUG)
def test_debug_tells_what_is_compiled(debug, told, monkeypatch, capsys):
    monkeypatch.setattr(settings, "debug", debug)
    build(*SMALL)
    text = capsys.readouterr().err
    assert all(word in text for word in told)
    assert bool(text) == bool(told)


def test_two_compilers_beside_each_other():
    if not nvrtc.is_installed("12.8"):
        pytest.skip("NVRTC 12.8 is not installed (pip install 'nvgemm[nvrtc12]')")
    cubins = [build(*SMALL, compiler=compiler) for compiler in (None, "12.8", None, "12.8")]
    assert [cubin.meta["compiler"] for cubin in cubins] == [nvrtc.version(), "12.8"] * 2
    assert len({cubin.path for cubin in cubins}) == 2


def test_a_compiler_is_installed_or_not(monkeypatch):
    newest = nvrtc.version()
    assert nvrtc.is_installed(newest)
    assert not nvrtc.is_installed("9.9")
    monkeypatch.setattr(settings, "nvrtc", newest)
    assert not nvrtc.is_installed(newest)  # the user's word decides
