"""``import nvgemm`` costs nothing: it loads no array library and no CUDA."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "ml_dtypes", "cupy", "torch", "cuda")


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def loaded_after(statement: str) -> set[str]:
    names = run(f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))").split()
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("statement", ["import nvgemm", "import nvgemm; dir(nvgemm)", "import nvgemm.cli"])
def test_nothing_heavy_is_loaded(statement: str) -> None:
    loaded = loaded_after(statement)
    assert "nvgemm" in loaded
    assert not loaded & set(HEAVY)


def test_every_public_name_exists() -> None:
    assert run("import nvgemm; print([name for name in dir(nvgemm) if not hasattr(nvgemm, name)])").strip() == "[]"


def test_public_names_need_no_array_framework() -> None:
    blocked = "import sys; sys.modules.update(cupy=None, torch=None, ml_dtypes=None)"
    assert "fp8_gemm_nt" in run(f"{blocked}\nfrom nvgemm import *\nprint(fp8_gemm_nt)")


def test_unknown_name_is_an_attribute_error() -> None:
    code = "import nvgemm\ntry: nvgemm.fp8_gemm\nexcept AttributeError as error: print(error)"
    assert run(code).strip() == "module 'nvgemm' has no attribute 'fp8_gemm'"
