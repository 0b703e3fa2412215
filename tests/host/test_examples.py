"""Each example uses public names alone, and ends with one sentence where it has no GPU or no framework."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import nvgemm

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORK = {  # what each example stands on, and what its sentence calls it
    "cupy_linear": ("cupy", "CuPy"),
    "cuda_graph": ("cupy", "CuPy"),
    "framework_free": ("cuda", "cuda-python"),
    "moe_layer": ("cupy", "CuPy"),
    "torch_linear": ("torch", "PyTorch"),
}
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
WITHOUT = "import sys, runpy; sys.modules[{module!r}] = None; runpy.run_path({path!r}, run_name='__main__')"


def sentence(*command: str) -> str:
    """What a run without a GPU says: on stderr, in one line, with exit code 1 and nothing else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def names_of_nvgemm(source: str) -> Iterator[str]:
    """Names that a script takes from nvgemm; what it reaches into appears with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found = (alias.name for alias in node.names)
            yield from (name.partition(".")[2] for name in found if name.startswith("nvgemm."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "nvgemm":
            prefix = node.module.partition(".")[2]
            yield from (f"{prefix}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nvgemm":
            yield node.attr


def test_every_example_is_known_here() -> None:
    assert [path.stem for path in EXAMPLES] == sorted(FRAMEWORK)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_only_public_names_are_used(path: Path) -> None:
    names = set(names_of_nvgemm(path.read_text()))
    assert names
    assert names <= set(nvgemm.__all__)


@pytest.mark.parametrize("line", ["from nvgemm.runtime import driver", "import nvgemm.gemm", "nvgemm.build_dense(1)"])
def test_the_check_sees_private_names(line: str) -> None:
    (name,) = names_of_nvgemm(line)
    assert name not in nvgemm.__all__


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_without_a_gpu_it_says_so(path: Path) -> None:
    module, name = FRAMEWORK[path.stem]
    if importlib.util.find_spec(module) is None:
        expected = f"{path.name}: {name} is not installed"
    else:
        expected = f"{path.name}: needs a Hopper GPU (compute capability 9.0), and found none"
    assert sentence(str(path)).startswith(expected)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_without_its_framework_it_says_so(path: Path) -> None:
    module, name = FRAMEWORK[path.stem]
    said = sentence("-c", WITHOUT.format(module=module, path=str(path)))
    assert said.startswith(f"{path.name}: {name} is not installed")
