"""Where the CUDA sources lie: inside the package in a wheel, beside it in a checkout or an editable install."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def kernels_dir() -> Path:
    """Folder ``kernels_cu`` of this installation."""
    packaged = PACKAGE / "kernels_cu"
    return packaged if packaged.is_dir() else PACKAGE.parent / "kernels_cu"
