"""A file imports only from its own layer or from one further down (read from the source, so no import is missed)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nvgemm"
FILES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

LAYERS = [  # from the ground up; a folder's name stands for all its files
    {"errors", "settings"},
    {"sass"},
    {"choice"},
    {"runtime"},
    {"product", "remembered", "gemm", "grouped", "prepared", "ahead", "explain"}
    | {"moe", "padding", "quantize", "reference", "testing"},
    {"__init__", "__main__", "cli", "commands", "sass_commands", "info", "demo", "tune", "deep_gemm", "bench"}
    | {"tune_progress", "sass_sources"},
]
FRAMEWORKS = {"torch", "cupy"}
MEET_FRAMEWORKS = ("deep_gemm", "bench")  # these mirror or measure them


def module_of(file: Path) -> str:
    return ".".join(file.with_suffix("").parts)


def layer(module: str) -> int:
    """Height of ``nvgemm.<part>…``; the package itself counts as its ``__init__``."""
    parts = [part for part in module.split(".")[1:] if part]
    name = parts[0] if parts else "__init__"
    found = [height for height, names in enumerate(LAYERS) if name in names]
    assert found, f"{module}: belongs to no layer; add it to LAYERS"
    return found[0]


def is_module(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*package, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{origin}.{alias.name}"
                is_ours = origin.split(".")[0] == "nvgemm"
                yield node.lineno, submodule if is_ours and is_module(submodule) else origin


def upward(source: str, module: str) -> list[str]:
    names = ((line, name) for line, name in imports(source, module) if name.split(".")[0] == "nvgemm")
    return [f"{module}:{line} imports {name}" for line, name in names if layer(name) > layer(module)]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_import_points_upward(file: Path) -> None:
    assert upward((ROOT / file).read_text(), module_of(file)) == []


@pytest.mark.parametrize("file", [file for file in FILES if file.parts[1] not in MEET_FRAMEWORKS], ids=str)
def test_frameworks_are_never_imported(file: Path) -> None:
    names = {name.split(".")[0] for _, name in imports((ROOT / file).read_text(), module_of(file))}
    assert not names & FRAMEWORKS


@pytest.mark.parametrize(
    "line",
    [
        "import nvgemm",
        "from nvgemm import fp8_gemm_nt",
        "from nvgemm import cli",
        "from nvgemm.gemm import fp8_gemm_nt",
        "from .. import gemm",
        "from ..gemm import fp8_gemm_nt",
        "def f():\n    from nvgemm.quantize import Quantized",
    ],
)
def test_the_check_sees_every_form_of_import(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_layers.is_module", lambda name: name in ("nvgemm.gemm", "nvgemm.cli"))
    assert len(upward(line, "nvgemm.runtime.kernel")) == 1
    allowed = "from nvgemm.errors import CudaError\nfrom . import driver\nimport ctypes"
    assert upward(allowed, "nvgemm.runtime.kernel") == []
