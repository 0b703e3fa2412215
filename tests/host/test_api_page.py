"""docs/api.md names everything public, with the signatures and settings that the code has."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from test_docstrings import PUBLIC

import nvgemm
from nvgemm import settings

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()


@pytest.mark.parametrize("name", nvgemm.__all__)
def test_it_names(name: str) -> None:
    assert re.search(rf"[`.]{name}\b", TEXT)


@pytest.mark.parametrize("name", [name for name, value in PUBLIC.items() if not inspect.isclass(value)])
def test_it_shows_the_signature_of(name: str) -> None:
    """Without types, `self` and `cls`; a plan is called as ``plan(…)``."""
    signature = inspect.signature(PUBLIC[name])
    kept = [p.replace(annotation=p.empty) for p in signature.parameters.values() if p.name not in ("self", "cls")]
    shown = str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty))
    assert f"{name.rpartition('.')[2].replace('__call__', 'plan')}{shown}" in TEXT


@pytest.mark.parametrize(("setting", "variable"), settings.VARIABLES.items())
def test_it_explains(setting: str, variable: str) -> None:
    assert f"| `{setting}` | `{variable}` |" in TEXT
