"""What takes part in a measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

OURS = "nvgemm"
Launch = Callable[[], Any]  # returns the result


def relative_frobenius(operands: Any, result: Any, exact: Any) -> float:
    """Of a result's valid rows, against those of the exact one."""
    return float((operands.valid(result).float() - exact).norm() / exact.norm())


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to compute a product, or the products of all groups.

    Attributes
    ----------
    same_job : bool
        Block-scaled with promotion, on the very operands of nvgemm. Only these make the envelope.
    launcher : callable
        Gives what launches the product of these operands, into their result, on torch's current stream. It raises
        `RuntimeError` or `ValueError`, or that does, where the library has no kernel for the shape.
    error : callable
        How far a result is off, from the operands, what the launch returned, and the exact product.
    """

    name: str
    what: str
    same_job: bool
    launcher: Callable[[Any], Launch]
    error: Callable[[Any, Any, Any], float] = relative_frobenius
