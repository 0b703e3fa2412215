"""What DeepGEMM's functions take besides arrays; anything else is refused with the argument, its value and the rule."""

from __future__ import annotations

import operator
from typing import Any

from nvgemm.choice import checks
from nvgemm.deep_gemm.refused import missing

Pair = tuple[Any, Any]
Recipe = tuple[int, int, int]


def whole(name: str, value: Any, rule: str) -> int:
    """`value` as an int; `rule` says what is expected."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected {rule}, got {value!r}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected {rule}, got {value}")
    return number


def whole_numbers(name: str, value: Any, counts: tuple[int, ...], rule: str) -> tuple[int, ...]:
    """`value` as a tuple of ints, of as many as `counts` has; `rule` says what is expected."""
    if not isinstance(value, (tuple, list)) or len(value) not in counts:
        raise TypeError(f"{name}: expected {rule}, got {value!r}")
    return tuple(whole(name, each, rule) for each in value)


def check_compiled_dims(compiled_dims: Any) -> None:
    """Refuse anything but letters of "mnk"; results do not depend on them."""
    if not isinstance(compiled_dims, str):
        raise TypeError(f"compiled_dims: expected a str, letters of 'mnk', got {compiled_dims!r}")
    if set(compiled_dims) - set("mnk"):
        raise ValueError(f"compiled_dims: expected letters of 'mnk', got {compiled_dims!r}")


def one_recipe(
    function: str, recipe: Recipe | None, recipe_a: tuple[int, int] | None, recipe_b: tuple[int, int] | None
) -> Recipe:
    """The recipe that `function` of this package is given in one of the two ways, or the default."""
    if recipe_a is not None and recipe_b is not None and recipe is None:
        rows_a, k_of_a = whole_numbers("recipe_a", recipe_a, (2,), "two ints, such as (1, 128)")
        rows_b, k_of_b = whole_numbers("recipe_b", recipe_b, (2,), "two ints, such as (128, 128)")
        if k_of_a != k_of_b:
            raise ValueError(f"recipe_a, recipe_b: K must be split alike, got {recipe_a} and {recipe_b}")
        recipe = rows_a, rows_b, k_of_a
    elif recipe_a is not None or recipe_b is not None:
        raise ValueError(
            "recipe: expected recipe alone, or recipe_a and recipe_b together, "
            f"got recipe={recipe}, recipe_a={recipe_a}, recipe_b={recipe_b}"
        )
    chosen = checks.recipe_of(recipe)
    if chosen == (1, 1, 128):
        raise missing(function, "recipe (1, 1, 128), a scale for each row of B, is", "pass b of per_block_cast_to_fp8")
    return chosen


def turned(pair: Pair, name: str) -> Pair:
    """Data and scales with their last two axes exchanged."""
    data, scales = checks.pair(pair, name)
    for part in (data, scales):
        if not hasattr(part, "swapaxes"):
            kind = type(part).__name__
            raise TypeError(f"{name}: expected arrays that have .swapaxes, got {kind}; the nt function needs none")
    return data.swapaxes(-1, -2), scales.swapaxes(-1, -2)
