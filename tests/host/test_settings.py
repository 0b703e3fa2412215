"""Settings come from the environment once, refuse what they do not know, and can be assigned."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nvgemm import settings

ROOT = Path(__file__).resolve().parents[2]


def read_with(**variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NVGEMM_")}
    code = "from nvgemm import settings; print({n: v for n, (v, _) in settings.snapshot().items()})"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**clean, **variables}, capture_output=True, text=True
    )


@pytest.mark.parametrize("variables", [{}, dict.fromkeys(settings.VARIABLES.values(), "")])
def test_defaults_also_for_empty_variables(variables: dict[str, str]) -> None:
    expected = dict(cache_dir=None, bundle_dir=None, compile="auto", sass="tuned", nvrtc=None, hints=True, debug=0)
    assert eval(read_with(**variables).stdout) == expected


def test_each_variable_is_read() -> None:
    values = dict(cache_dir="/c", bundle_dir="/b", compile="never", sass="s2e2", nvrtc="12.8")
    given = {settings.VARIABLES[name]: value for name, value in values.items()}
    assert eval(read_with(**given, NVGEMM_HINTS="0", NVGEMM_DEBUG="2").stdout) == {**values, "hints": False, "debug": 2}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NVGEMM_COMPILE", "sometimes"),
        ("NVGEMM_DEBUG", "3"),
        ("NVGEMM_DEBUG", "on"),
        ("NVGEMM_HINTS", "no"),
        ("NVGEMM_SASS", "a b"),
    ],
)
def test_unknown_value_names_the_variable(variable: str, value: str) -> None:
    result = read_with(**{variable: value})
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ValueError: {variable}: expected")
    assert repr(value) in last


def test_snapshot_follows_assignment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "debug", 1)
    assert settings.snapshot()["debug"] == (1, "NVGEMM_DEBUG")
