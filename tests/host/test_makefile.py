"""The Makefile installs once, installs nothing when told so, and says in a sentence what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    ours = {"PYTHON", "VENV", "MAKEFLAGS", "MAKELEVEL"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(["make", *arguments], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    return tmp_path


def interpreter(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_without_a_venv_nothing_is_installed() -> None:
    plan = make("-n", "test", "PYTHON=python3", "VENV=").stdout
    assert plan.splitlines()[-1] == "python3 -m pytest"
    assert "pip" not in plan


def test_second_command_does_not_install_again(checkout: Path) -> None:
    assert "pip install" in make("-n", "test", cwd=checkout).stdout
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed").touch()
    assert "pip install" not in make("-n", "demo", f"PYTHON={sys.executable}", cwd=checkout).stdout
    os.utime(checkout / ".venv" / ".installed", (0, 0))
    assert "pip install" in make("-n", "demo", cwd=checkout).stdout


def test_missing_python(checkout: Path) -> None:
    result = make("test", "PYTHON=no-such-python", cwd=checkout)
    assert result.returncode != 0
    assert "no-such-python was not found" in result.stderr


def test_old_python(checkout: Path) -> None:
    old = interpreter(checkout / "old", 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac')
    result = make("test", f"PYTHON={old}", cwd=checkout)
    assert result.returncode != 0
    assert "needs Python 3.11 or newer, and Python 3.9.2 is older" in result.stderr


def test_python_without_venv(checkout: Path) -> None:
    bare = interpreter(checkout / "bare", 'case "$2" in *ensurepip*) exit 1;; esac')
    result = make("test", f"PYTHON={bare}", cwd=checkout)
    assert result.returncode != 0
    assert "has no venv module" in result.stderr


@pytest.mark.parametrize("target", ["demo", "test", "test-gpu", "bench", "lint"])
def test_every_target_exists(target: str) -> None:
    assert make("-n", target, "VENV=").returncode == 0
