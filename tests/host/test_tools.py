"""Scripts in ``tools`` that take arguments of their own: wrong ones are refused before anything is built."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFUSED = {
    "sweep.py": (["64", "576"], "usage: python tools/sweep.py M N K"),
    "cliffs.py": (["2112"], "usage: python tools/cliffs.py [NxK …]"),
    "variants.py": (["nowhere"], "no copy of kernels_cu: nowhere"),
    "variants.py --shape": (["kernels_cu", "--shape", "64", "576"], "the suite dense takes M N K, got 64 576"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_arguments(name):
    arguments, message = REFUSED[name]
    command = [sys.executable, f"tools/{name.split()[0]}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
