"""The three ways to use the package: from a wheel, from an editable install, and from a plain checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted(path.relative_to(ROOT / "kernels_cu").as_posix() for path in (ROOT / "kernels_cu").rglob("*.cu*"))
LOCATE = "from nvgemm.runtime.sources import kernels_dir; print(kernels_dir())"


def python(code: str, cwd: Path, path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def build(kind: str, folder: Path) -> Path:
    """Build with hatchling in this interpreter: nothing is fetched or installed."""
    pytest.importorskip("hatchling", reason="hatchling is not installed, so no wheel can be built")
    code = f"from hatchling.build import build_{kind}; print(build_{kind}({str(folder)!r}))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder / result.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


def test_wheel_carries_every_kernel_source(wheel: zipfile.ZipFile) -> None:
    assert "fp8_gemm.cu" in SOURCES
    for source in SOURCES:
        assert wheel.read(f"nvgemm/kernels_cu/{source}") == (ROOT / "kernels_cu" / source).read_bytes()


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert {name.split("/")[0] for name in names} == {"nvgemm", "nvgemm-0.1.0.dist-info"}
    assert {"nvgemm/py.typed", "nvgemm/tuned/h100.json"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".cubin", ".so"))]


def test_unpacked_wheel_uses_its_own_sources(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    wheel.extractall(site)
    assert python(LOCATE, elsewhere, site) == str(site / "nvgemm" / "kernels_cu")
    code = "from nvgemm.runtime import cubin_cache; print(cubin_cache.directory())"
    assert not python(code, elsewhere, site).startswith(str(site))


def test_plain_checkout_is_used_from_anywhere(tmp_path: Path) -> None:
    assert python(LOCATE, tmp_path, ROOT) == str(ROOT / "kernels_cu")
    assert "usage: nvgemm" in python("from nvgemm.cli import main; main([])", tmp_path, ROOT)


def test_editable_install_finds_the_sibling_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("editable", tmp_path)) as archive:
        (pth,) = [name for name in archive.namelist() if name.endswith(".pth")]
        assert archive.read(pth).decode().split() == [str(ROOT)]
    assert python(LOCATE, tmp_path, ROOT) == str(ROOT / "kernels_cu")


def test_metadata(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read("nvgemm-0.1.0.dist-info/METADATA").decode()
    assert "Requires-Python: >=3.11" in metadata
    assert "License-Expression: MIT" in metadata
    assert "nvgemm = nvgemm.cli:main" in wheel.read("nvgemm-0.1.0.dist-info/entry_points.txt").decode()


def test_cupy_is_an_extra_and_never_a_base_requirement() -> None:
    assert not [name for name in PROJECT["project"]["dependencies"] if "cupy" in name or "torch" in name]
    assert set(PROJECT["project"]["optional-dependencies"]) >= {"cupy", "nvrtc12", "tools", "bench", "test"}
