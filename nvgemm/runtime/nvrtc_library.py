"""Where libnvrtc lies: in an installed wheel, else wherever the CUDA toolkit is."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from nvgemm.errors import CompileError

_FOLDERS = ("cu13/lib", "cuda_nvrtc/lib")  # of the wheels nvidia-cuda-nvrtc and nvidia-cuda-nvrtc-cu12


def find(wanted: str | None) -> str:
    """Path of the libnvrtc that `wanted` names: a path, a version such as ``12.8``, or None for the newest wheel's.

    Raises
    ------
    CompileError
        There is none.
    """
    if wanted and "/" in wanted:
        return wanted
    major = wanted.split(".")[0] if wanted else ""
    for path in _in_wheels(major):
        return str(path)
    if wanted:
        raise CompileError(f"NVGEMM_NVRTC: no NVRTC {wanted} is installed; for 12.8 install the extra nvgemm[nvrtc12]")
    return _in_toolkit()


def builtins_of(path: str) -> list[Path]:
    """The libnvrtc-builtins beside a libnvrtc; its file name ends in the version of both."""
    return sorted(Path(path).parent.glob("libnvrtc-builtins.so.*.*"))


def named_version(path: str) -> str | None:
    """``major.minor`` of a libnvrtc, where exactly one libnvrtc-builtins beside it tells."""
    versions = {".".join(builtins.name.split(".so.")[1].split(".")[:2]) for builtins in builtins_of(path)}
    return versions.pop() if len(versions) == 1 else None


def _in_wheels(major: str) -> Iterator[Path]:
    package = importlib.util.find_spec("nvidia")
    roots = list(package.submodule_search_locations or ()) if package else []
    for folder in _FOLDERS:  # the newer wheel first, whichever of the places it is in
        for root in roots:
            yield from sorted(Path(root, folder).glob(f"libnvrtc.so.{major}*"))


def _in_toolkit() -> str:
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return str(load_nvidia_dynamic_lib("nvrtc").abs_path)
    except Exception as error:
        raise CompileError(
            "NVRTC was not found: pip install nvidia-cuda-nvrtc, or name a libnvrtc in NVGEMM_NVRTC"
        ) from error
