"""The README's quick starts run as they stand there, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
CHECK = """
import numpy as np
from nvgemm import reference
host = x.get() if hasattr(x, "get") else x.to_numpy()
weights = w.get() if hasattr(w, "get") else w.to_numpy()
d = reference.decode_bf16(d.get() if hasattr(d, "get") else d)
exact = host[:64].astype(np.float64) @ weights.astype(np.float64).T
print("error", np.linalg.norm(d[:64] - exact) / np.linalg.norm(exact))
"""


def test_there_are_two():
    assert len(BLOCKS) == 2


@pytest.mark.parametrize("block", BLOCKS, ids=["cupy", "framework-free"])
def test_quick_start(block):
    if "cupy" in block:
        pytest.importorskip("cupy")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", block + CHECK]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    error = float(done.stdout.split("error ")[1])
    assert 0.03 < error < 0.045  # two roundings to E4M3
