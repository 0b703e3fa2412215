"""NVRTC: errors show numbered source lines, the log is read, and another library can be named."""

from __future__ import annotations

import copy
import sys

import pytest

from nvgemm import CompileError, settings
from nvgemm.runtime import nvrtc, nvrtc_library
from nvgemm.runtime.specialize import Source

KERNEL = """// line 1
#include "part.cuh"
extern "C" __global__ void small(float* x) {
    x[threadIdx.x] = part();
    EXTRA
}
"""
PART = "#pragma once\n__device__ float part() {\n    return 2;\n}\n"


def compile_(extra: str = "", part: str = PART) -> nvrtc.Compiled:
    return nvrtc.compiler().compile(Source("small", {"small.cu": KERNEL.replace("EXTRA", extra), "part.cuh": part}))


def test_a_cubin_and_a_log():
    compiled = compile_()
    assert compiled.cubin[:4] == b"\x7fELF"
    assert b"small" in compiled.cubin
    found = nvrtc.resources(compiled.log)
    assert found["registers"] > 0
    assert (found["spilled_bytes"], found["complaints"]) == (0, [])


def test_the_same_text_gives_the_same_bytes():
    assert compile_().cubin == compile_().cubin


def test_an_error_shows_the_lines_of_the_kernel():
    with pytest.raises(CompileError) as caught:
        compile_("x[0] = undefined_name;")
    text = str(caught.value)
    assert f"NVRTC {nvrtc.compiler().version} could not compile small.cu" in text
    assert "undefined_name" in text
    assert "    4 |     x[threadIdx.x] = part();\n    5 |     x[0] = undefined_name;\n    6 | }" in text


def test_an_error_shows_the_lines_of_a_header():
    with pytest.raises(CompileError) as caught:
        compile_(part=PART.replace("2;", "nothing;"))
    lines = "    1 | #pragma once\n    2 | __device__ float part() {\n    3 |     return nothing;\n    4 | }"
    assert f"part.cuh:\n{lines}" in str(caught.value)


def test_an_error_at_the_last_line():
    with pytest.raises(CompileError, match=r"    1 \| __device__ float part\(\)") as caught:
        compile_(part="__device__ float part() { return }")
    assert "small.cu" in str(caught.value)


def test_a_missing_header_is_named():
    with pytest.raises(CompileError, match=r"absent\.cuh"):
        nvrtc.compiler().compile(Source("small", {"small.cu": '#include "absent.cuh"\n'}))


def test_nothing_outside_is_included():
    """No toolkit headers: what compiles here compiles everywhere."""
    with pytest.raises(CompileError, match=r"cuda_fp8\.h"):
        compile_(part='#include "cuda_fp8.h"\n' + PART)


def test_a_failure_leaves_the_compiler_good():
    with pytest.raises(CompileError):
        compile_("!")
    assert compile_().cubin[:4] == b"\x7fELF"


def test_resources_of_a_log():
    log = (
        "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized\n"
        "ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored\n"
        "ptxas         .     992 bytes stack frame, 1220 bytes spill stores, 1216 bytes spill loads\n"
        "ptxas info    : Used 168 registers, used 1 barriers\n"
    )
    found = nvrtc.resources(log)
    assert (found["registers"], found["spilled_bytes"], len(found["complaints"])) == (168, 2436, 2)
    assert nvrtc.resources("") == {"registers": None, "spilled_bytes": 0, "stack_bytes": 0, "complaints": []}


def test_a_library_named_by_its_path(monkeypatch):
    default = nvrtc.compiler()
    monkeypatch.setattr(settings, "nvrtc", default.path)
    assert nvrtc.compiler().path == default.path
    assert nvrtc.compiler().version == default.version
    assert nvrtc.compiler() is nvrtc.compiler()


def test_a_library_named_by_its_version(monkeypatch):
    default = nvrtc.compiler()
    if "/nvidia/" not in default.path:
        pytest.skip("the default NVRTC does not come from a wheel")
    monkeypatch.setattr(settings, "nvrtc", default.version)
    assert nvrtc.compiler().version == default.version


@pytest.mark.parametrize("wanted", ["9.9", "/nowhere/libnvrtc.so.13", "newest"])
def test_an_unknown_library_is_refused(wanted, monkeypatch):
    monkeypatch.setattr(settings, "nvrtc", wanted)
    with pytest.raises(CompileError, match="NVGEMM_NVRTC"):
        nvrtc.compiler()


def test_a_version_without_any_wheel_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia", None)
    monkeypatch.setattr(settings, "nvrtc", "12.7")
    with pytest.raises(CompileError, match="NVGEMM_NVRTC"):
        nvrtc.compiler()


def test_no_library_at_all(monkeypatch):
    def missing(_: str) -> None:
        raise RuntimeError("libnvrtc was not found")

    monkeypatch.setattr("cuda.pathfinder.load_nvidia_dynamic_lib", missing)
    monkeypatch.setattr(nvrtc_library, "_in_wheels", lambda major: iter(()))
    with pytest.raises(CompileError, match="pip install nvidia-cuda-nvrtc"):
        nvrtc_library.find(None)


def test_file_names_tell_the_version():
    assert nvrtc.version() == nvrtc.compiler().version


def test_another_version_than_the_wanted_is_not_taken_by_its_file_name(monkeypatch):
    major = nvrtc.version().split(".")[0]
    monkeypatch.setattr(settings, "nvrtc", f"{major}.99")
    with pytest.raises(CompileError, match=f"version {major}.99 is wanted"):
        nvrtc.version()


class Recorder:
    """A libnvrtc that notes the options it is given."""

    def __init__(self, library) -> None:
        self.library, self.options = library, []

    def __getattr__(self, name):
        return getattr(self.library, name)

    def __getitem__(self, name):
        return self.library[name]

    def nvrtcCompileProgram(self, program, count, options):  # noqa: N802 - NVRTC's name
        self.options = [options[i].decode() for i in range(count)]
        return self.library.nvrtcCompileProgram(program, count, options)


def test_the_compilers_own_cache_is_off_where_it_has_one():
    compiler = copy.copy(nvrtc.compiler())
    compiler._library = Recorder(compiler._library)
    compiler.compile(Source("empty", {"empty.cu": ""}))
    assert ("--no-cache" in compiler._library.options) == (tuple(map(int, compiler.version.split("."))) >= (12, 9))
    for version, count in (("12.8", 0), ("12.9", 1), ("13.0", 1), ("13.10", 1)):
        compiler.version = version
        assert compiler.options.count("--no-cache") == count
