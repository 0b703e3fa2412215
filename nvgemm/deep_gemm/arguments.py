"""Numbers that DeepGEMM's functions take; anything else is refused with the argument, its value and the rule."""

from __future__ import annotations

import operator
from typing import Any


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
