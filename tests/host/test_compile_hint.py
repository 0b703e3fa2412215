"""The hint that a call compiled: one line, once a process, and none where the settings say so."""

from __future__ import annotations

import pytest

from nvgemm import settings
from nvgemm.ahead import build_dense
from nvgemm.runtime import compile_hint


@pytest.fixture
def cubin(cache_dir, monkeypatch):
    monkeypatch.setattr(compile_hint, "_told", False)
    monkeypatch.setattr(settings, "hints", True)
    monkeypatch.setattr(settings, "debug", 0)
    return build_dense(64, 64, 128)


def test_only_what_this_build_compiled_is_new(cubin):
    again = build_dense(64, 64, 128)
    assert (cubin.is_new, again.is_new, cubin == again) == (True, False, True)


def test_it_is_one_line_once(cubin, cache_dir, capsys):
    compile_hint.tell(cubin)
    compile_hint.tell(cubin)
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert f"compiled fp8_gemm for N=64 K=128 in {cubin.meta['seconds']:.2f} s, kept in {cache_dir};" in written.err
    assert "NVGEMM_HINTS=0" in written.err


@pytest.mark.parametrize(("name", "value"), [("hints", False), ("debug", 1)])
def test_settings_silence_it(cubin, capsys, monkeypatch, name, value):
    monkeypatch.setattr(settings, name, value)
    compile_hint.tell(cubin)
    assert capsys.readouterr().err == ""
