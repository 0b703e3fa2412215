"""Every refusal of a caller's mistake, made before anything is launched or allocated.

What follows from shapes, strides and dtypes is memoised; pointers, devices and overlap are looked at on each call.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from nvgemm.choice import rules
from nvgemm.choice.pointers import Extents, check_elements, dense_pointers
from nvgemm.choice.problem import GRANULARITY, Problem, View
from nvgemm.choice.rules import Layout

RECIPE_1D2D = (1, 128, 128)  # rows of A, rows of B and elements of K to each scale
_QUANTISER = {"a": "per_token_cast_to_fp8", "b": "per_block_cast_to_fp8"}


def operands(a: Any, b: Any, d: Any) -> tuple[Any, Any, Any, Any, Any]:
    """``(*pair(a), *pair(b), d)``, in one step where both are pairs."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == 2:
        (data_a, sfa), (data_b, sfb) = a, b
        if data_a is not None and sfa is not None and data_b is not None and sfb is not None:
            return data_a, sfa, data_b, sfb, d
    return (*pair(a, "a"), *pair(b, "b"), d)


def pair(x: Any, name: str) -> tuple[Any, Any]:
    """Take ``(data, scales)`` apart; a bare array and a missing half are refused by name."""
    if isinstance(x, (tuple, list)) and not hasattr(x, "shape"):
        if len(x) == 2 and x[0] is not None and x[1] is not None:
            return x[0], x[1]
        missing = f"{len(x)} items" if len(x) != 2 else "no data" if x[0] is None else "no scales"
        got = f"a pair with {missing}" if len(x) == 2 else missing
    else:
        kind = type(x)
        got = "nothing" if x is None else f"a bare {kind.__module__.partition('.')[0]}.{kind.__name__}"
    hint = f"; nvgemm.{_QUANTISER[name]} makes one" if name in _QUANTISER else ""
    raise TypeError(f"{name}: expected a pair (data, scales), got {got}{hint}")


def recipe_of(recipe: Any) -> tuple[int, int, int]:
    """`recipe` as a tuple; None stands for the one that there is."""
    if recipe is None or recipe is RECIPE_1D2D:
        return RECIPE_1D2D
    if isinstance(recipe, (tuple, list)) and len(recipe) == 3 and all(isinstance(part, int) for part in recipe):
        return recipe[0], recipe[1], recipe[2]
    raise TypeError(f"recipe: expected three ints, such as {RECIPE_1D2D}, got {recipe!r}")


def sizes(m: int, n: int, k: int) -> None:
    """Refuse a shape that no kernel is built for."""
    if min(m, n, k) < 1 or n % 8 or k % 16:
        raise ValueError(f"M, N, K: expected positive sizes, N % 8 == 0 and K % 16 == 0, got {m}, {n}, {k}")


def dense(
    a: View, sfa: View, b: View, sfb: View, d: View | None, recipe: tuple[int, int, int] | None = None
) -> Problem:
    """Check the operands of one dense product.

    Parameters
    ----------
    a, b : View
        E4M3 ``[M, K]`` and ``[N, K]``, K contiguous, row stride and pointer multiples of 16 bytes.
    sfa, sfb : View
        FP32 scales ``[M, ceil(K/128)]``, either major, and ``[ceil(N/128), ceil(K/128)]``, any strides.
    d : View or None
        BF16 ``[M, N]``, N contiguous, row stride and pointer multiples of 16 bytes; None where it will be allocated.
    recipe : tuple of int, optional
        ``(1, 128, 128)``, which None stands for.

    Raises
    ------
    TypeError
        A dtype is wrong, or a pair is swapped.
    ValueError
        Anything else that cannot work; the message gives argument, value and rule.
    """
    recipe = recipe_of(recipe)
    problem, extents = dense_layout(
        (a.shape, a.strides, a.dtype),
        (sfa.shape, sfa.strides, sfa.dtype),
        (b.shape, b.strides, b.dtype),
        (sfb.shape, sfb.strides, sfb.dtype),
        None if d is None else (d.shape, d.strides, d.dtype),
        not sfa.ptr & 15,
        recipe,
    )
    dense_pointers(a, sfa, b, sfb, d, extents)
    return problem


@lru_cache(maxsize=4096)
def dense_layout(
    a: Layout,
    sfa: Layout,
    b: Layout,
    sfb: Layout,
    d: Layout | None,
    sfa_aligned: bool,
    recipe: tuple[int, int, int] | None = None,
) -> tuple[Problem, Extents]:
    """Part of `dense` that pointers have no say in, but for `sfa_aligned`: A's scales start on a 16-byte unit."""
    if recipe != RECIPE_1D2D:
        raise ValueError(f"recipe: {RECIPE_1D2D} is what fp8_gemm_nt computes, got {recipe}")
    for name, data, scales in (("a", a, sfa), ("b", b, sfb)):
        rules.quantised(name, data, scales)
        rules.rank(name, data[0], "[M, K]" if name == "a" else "[N, K]")
    (m, k), n = a[0], b[0][0]
    rules.same_k(a[0], b[0])
    rules.columns(n)
    if k % 16:
        raise ValueError(f"a and b: K must be a multiple of 16, got K={k}; pad both with zeros")
    rules.rows("a", a, "K")
    rules.rows("b", b, "K")
    sfa_mn_major = rules.row_scales("a scales", sfa, m, k, sfa_aligned)
    rules.block_scales("b scales", sfb, n, k)
    if d is not None:
        _output(d, m, n)
    spans = (rules.extent(a), rules.extent(sfa), rules.extent(b), rules.extent(sfb), rules.extent(d) if d else 0)
    return Problem(m, n, k, sfa_mn_major), spans


def _output(d: Layout, m: int, n: int) -> None:
    rules.dtype("d", d[2], rules.BF16)
    if d[0] != (m, n):
        raise ValueError(f"d: expected shape {(m, n)} for M={m}, N={n}, got {d[0]}")
    rules.rows("d", d, "N")


def per_token(x: View, name: str = "x") -> tuple[int, int]:
    """Check an operand of the 1×128 quantiser: FP32, FP16 or BF16 ``[M, K]``, K contiguous, any row stride ≥ K.

    Returns
    -------
    (int, int)
        M and K.
    """
    return _unquantised(x, name, "[M, K]")


def per_block(x: View, name: str = "x") -> tuple[int, int]:
    """Check an operand of the 128×128 quantiser: FP32, FP16 or BF16 ``[N, K]``, K contiguous, any row stride ≥ K.

    Returns
    -------
    (int, int)
        N and K.
    """
    return _unquantised(x, name, "[N, K]")


def _unquantised(x: View, name: str, axes: str) -> tuple[int, int]:
    rules.dtype(name, x.dtype, ("float32", "float16", "bfloat16"))
    rules.rank(name, x.shape, axes)
    rules.rows(name, (x.shape, x.strides, x.dtype), "K", tma=False)
    check_elements(name, x)
    return x.shape[0], x.shape[1]


def scales(sf: View, name: str = "sf", *, mn: int | None = None, k: int | None = None) -> bool:
    """Check FP32 scales ``[M, ceil(K/128)]``, or so for each group, that are to become MN-major; True where they are.

    Parameters
    ----------
    mn, k : int, optional
        Rows and K that the shape must match; None takes them from the shape.
    """
    if len(sf.shape) != 3:
        rules.rank(name, sf.shape, "[M, ceil(K/128)]")
    m = sf.shape[-2] if mn is None else mn
    depth = sf.shape[-1] * GRANULARITY if k is None else k
    ready = rules.row_scales(name, (sf.shape, sf.strides, sf.dtype), m, depth, not sf.ptr & 15, sf.shape[:-2])
    check_elements(name, sf)
    return ready
