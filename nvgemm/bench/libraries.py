"""The array libraries that measurements need and the package does not: imported when asked for, named when absent."""

from __future__ import annotations

import importlib
from typing import Any


def torch() -> Any:
    """PyTorch.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    return _needed("torch", "PyTorch is not installed; its profiler takes the kernel times")


def cupy() -> Any:
    """CuPy.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    return _needed("cupy", "CuPy is not installed; the calls are made with its arrays")


def _needed(name: str, absent: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # a part of it is missing
            raise
        raise ModuleNotFoundError(absent) from error
