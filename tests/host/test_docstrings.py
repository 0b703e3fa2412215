"""Public docstrings give shapes, dtypes and errors, by rules that a program can check."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest

import nvgemm
from nvgemm import moe, reference, testing

SHAPE = re.compile(r"\[(\.\.\.|[A-Za-z(][^\]`]*)\]")  # [M, K], [ceil(N/128), ceil(K/128)], [...]
DTYPE = re.compile(r"\b(E4M3|BF16|FP16|FP32|FP64|float\d+|bfloat16|u?int\d+|any dtype|any real dtype)\b")
NO_ARRAYS = {"stream"}  # parameters of type Any that hold something else


def is_public(name: str) -> bool:
    return name == "__call__" or not name.startswith("_")


def public() -> Iterator[tuple[str, Any]]:
    """Functions and classes by their names, then the methods of the classes."""
    spaces = (
        (nvgemm, nvgemm.__all__),
        (moe, moe.__all__),
        (reference, reference.__all__),
        (testing, filter(is_public, vars(testing))),
    )
    for module, names in spaces:
        for name in names:
            value = getattr(module, name)
            if (inspect.isfunction(value) or inspect.isclass(value)) and value.__module__.startswith("nvgemm"):
                yield f"{module.__name__}.{name}", value
                yield from methods(f"{module.__name__}.{name}", value)


def methods(owner: str, value: Any) -> Iterator[tuple[str, Any]]:
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        member = getattr(member, "__func__", member)  # of a class method
        if is_public(name) and inspect.isfunction(member):
            yield f"{owner}.{name}", member


def sections(doc: str) -> dict[str, list[str]]:
    """Lines of each section of a docstring in NumPy's style; those before the first under an empty title."""
    lines, title = inspect.cleandoc(doc).splitlines(), ""
    found: dict[str, list[str]] = {title: []}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if set(below) == {"-"}:
            title, found[line] = line, []
        elif set(line) != {"-"}:
            found[title].append(line)
    return found


def entries(lines: list[str]) -> dict[str, str]:
    """Each name that a section explains, with all that is said of it."""
    found: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if line and not line[0].isspace():
            names = [name.strip() for name in line.split(":")[0].split(",")]
        found.update({name: f"{found.get(name, '')} {line.strip()}" for name in names})
    return found


def parameters(value: Any) -> Iterator[tuple[str, bool]]:
    """Names of what is to be passed, and whether it is an array."""
    for name, parameter in inspect.signature(value).parameters.items():
        kind = getattr(parameter.annotation, "__forward_arg__", str(parameter.annotation))
        if name not in ("self", "cls"):
            yield name, name not in NO_ARRAYS and (kind in ("Any", "tuple[Any, Any]") or "ndarray" in kind)


def complaints(value: Any) -> list[str]:
    """What the docstring of a function or class lacks."""
    doc = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    if not doc:
        return ["no docstring"]
    if inspect.isclass(value) and issubclass(value, Exception):  # raised by the library, not called by its users
        return []
    found = sections(doc)
    told = entries(found.get("Parameters", []))
    if inspect.isclass(value):
        told |= entries(found.get("Attributes", []))
    lacks = [f"{name}: {what}" for name, is_array in parameters(value) for what in untold(value, name, is_array, told)]
    lacks += [f"{name}: an attribute that is not explained" for name in properties(value) if name not in told]
    return lacks + ["no Raises"] * (can_fail(value) and "Raises" not in doc)


def untold(value: Any, name: str, is_array: bool, told: dict[str, str]) -> Iterator[str]:
    if name not in told:
        if is_array or not inspect.isclass(value) or "Parameters" in sections(value.__doc__):
            yield "a parameter that is not explained"
    elif is_array:
        yield from ("no shape",) * (not SHAPE.search(told[name]))
        yield from ("no dtype",) * (not DTYPE.search(told[name]))


def properties(value: Any) -> list[str]:
    """Attributes that have no docstring of their own."""
    members = vars(value).items() if inspect.isclass(value) else ()
    return [name for name, x in members if isinstance(x, property) and is_public(name) and not x.__doc__]


def can_fail(value: Any, seen: set[Any] | None = None) -> bool:
    """There is a `raise` in it, or in what it calls by name within the package."""
    seen = set() if seen is None else seen
    if inspect.isclass(value):
        return any(can_fail(vars(value).get(name), seen) for name in ("__new__", "__init__"))
    value = getattr(value, "__func__", value)  # of a class method, or of `__new__`
    value = inspect.unwrap(value) if callable(value) else value
    if not isinstance(value, FunctionType) or value in seen or "<" in value.__code__.co_filename:
        return False
    seen.add(value)
    nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(value)))))
    return any(isinstance(node, ast.Raise) for node in nodes) or any(
        can_fail(called, seen) for called in calls(nodes, value)
    )


def calls(nodes: list[ast.AST], function: FunctionType) -> Iterator[Any]:
    """Functions and classes of the package that these nodes call, as ``f()``, ``module.f()`` or ``self.f()``."""
    owner = function.__globals__.get(function.__qualname__.split(".")[0])
    names = {**function.__globals__, "self": owner, "cls": owner}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            module = __import__(node.module, fromlist=["*"])
            names |= {alias.asname or alias.name: getattr(module, alias.name, None) for alias in node.names}
    for func in (node.func for node in nodes if isinstance(node, ast.Call)):
        if isinstance(func, ast.Name):
            called = names.get(func.id)
        elif isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            called = getattr(names.get(func.value.id), func.attr, None)
        else:
            continue
        if str(getattr(called, "__module__", "")).startswith("nvgemm"):
            yield called


PUBLIC = dict(public())


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstring(name: str) -> None:
    assert complaints(PUBLIC[name]) == []


def good(x: Any, n: int = 0) -> None:
    """Do it.

    Parameters
    ----------
    x : array, [M, K]
        FP32.
    n : int
        Times.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError


@pytest.mark.parametrize(
    ("old", "new", "lack"),
    [
        ("[M, K]", "M by K", "x: no shape"),
        ("FP32", "numbers", "x: no dtype"),
        ("n : int\n        Times.", "", "n: a parameter that is not explained"),
        ("Raises", "Errors", "no Raises"),
    ],
)
def test_the_rules_see_what_is_missing(old: str, new: str, lack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(good) == []
    assert old in good.__doc__
    monkeypatch.setattr(good, "__doc__", good.__doc__.replace(old, new))
    assert complaints(good) == [lack]


def test_failures_are_seen_through_calls() -> None:
    assert can_fail(nvgemm.plan)  # Plan, its _bind, admit, checks.pair
    assert can_fail(nvgemm.Quantized.dequantize)  # by a function that it imports itself
    assert can_fail(nvgemm.Array.empty)
    assert not can_fail(reference.encode_e4m3)
    assert not can_fail(nvgemm.Plan.explain)


def test_every_kind_of_public_thing_is_looked_at() -> None:
    expected = {"nvgemm.plan", "nvgemm.Plan.__call__", "nvgemm.Array.from_numpy", "nvgemm.reference.gemm"}
    assert expected < set(PUBLIC)
    assert "nvgemm.testing.assert_close" in PUBLIC
