"""Dense FP8 products with DeepGEMM's signatures: its arguments to those of `nvgemm.fp8_gemm_nt`, refusals by name."""

from __future__ import annotations

from typing import Any

import nvgemm
from nvgemm.choice import checks
from nvgemm.deep_gemm.arguments import whole_numbers
from nvgemm.deep_gemm.refused import missing
from nvgemm.dense import admit, ready_kernel
from nvgemm.runtime import sm_limit
from nvgemm.runtime.arrays import view
from nvgemm.runtime.dtypes import canonical

__all__ = [
    "fp8_fp4_gemm_nn",
    "fp8_fp4_gemm_nt",
    "fp8_fp4_gemm_tn",
    "fp8_fp4_gemm_tt",
    "fp8_gemm_nn",
    "fp8_gemm_nt",
    "fp8_gemm_tn",
    "fp8_gemm_tt",
    "gemm_fp8_fp8_bf16_nt",
]

Pair = tuple[Any, Any]
Recipe = tuple[int, int, int]


def fp8_gemm_nt(
    a: Pair,
    b: Pair,
    d: Any,
    c: Any = None,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "nk",
    disable_ue8m0_cast: bool = False,
    alpha: float | None = None,
) -> None:
    """Write ``A · Bᵀ`` to `d`, in the order of the current stream.

    Parameters
    ----------
    a : (data, scales)
        E4M3 [M, K], K contiguous, and FP32 [M, ceil(K/128)], K-major or MN-major; only MN-major and padded scales, as
        `get_mn_major_tma_aligned_tensor` gives them, are not transposed in each call.
    b : (data, scales)
        E4M3 [N, K], K contiguous, and FP32 [ceil(N/128), ceil(K/128)].
    d : tensor
        BF16 [M, N], N contiguous.
    recipe : (int, int, int), optional
        ``(1, 128, 128)``, the default: rows of A, rows of B and elements of K to a scale.
    recipe_a, recipe_b : (int, int), optional
        The same as two pairs, ``(1, 128)`` and ``(128, 128)``; both or neither, and then no `recipe`.
    compiled_dims : str
        Letters of "mnk". Kernels are always compiled for N and K and never for M; results do not depend on it.
    disable_ue8m0_cast : bool
        Without effect on Hopper, as in DeepGEMM: scales stay FP32.
    c, alpha
        Only None: Hopper has neither in DeepGEMM's dense products of this recipe.

    Raises
    ------
    NotImplementedError
        DeepGEMM has it, on some GPU or in another recipe, and it is missing here; the message says what.
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    """
    _refuse(d, c, alpha, compiled_dims)
    chosen = _recipe(recipe, recipe_a, recipe_b)
    nvgemm.fp8_gemm_nt(_with_scales_laid_out(a, b, d, chosen), b, d, recipe=chosen)


def fp8_gemm_nn(
    a: Pair,
    b: Pair,
    d: Any,
    c: Any = None,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "nk",
    disable_ue8m0_cast: bool = False,
    alpha: float | None = None,
) -> None:
    """`fp8_gemm_nt` with B as [K, N] and its scales as [ceil(K/128), ceil(N/128)]; K is contiguous all the same."""
    b = _transposed(b, "b")
    fp8_gemm_nt(a, b, d, c, recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast, alpha)


def fp8_gemm_tn(
    a: Pair,
    b: Pair,
    d: Any,
    c: Any = None,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "mn",
    disable_ue8m0_cast: bool = False,
    alpha: float | None = None,
) -> None:
    """`fp8_gemm_nt` with A as [K, M] and B as [K, N], their scales likewise; K is contiguous all the same."""
    a, b = _transposed(a, "a"), _transposed(b, "b")
    fp8_gemm_nt(a, b, d, c, recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast, alpha)


def fp8_gemm_tt(
    a: Pair,
    b: Pair,
    d: Any,
    c: Any = None,
    recipe: Recipe | None = None,
    recipe_a: tuple[int, int] | None = None,
    recipe_b: tuple[int, int] | None = None,
    compiled_dims: str = "mn",
    disable_ue8m0_cast: bool = False,
    alpha: float | None = None,
) -> None:
    """`fp8_gemm_nt` with A as [K, M] and its scales as [ceil(K/128), M]; K is contiguous all the same."""
    a = _transposed(a, "a")
    fp8_gemm_nt(a, b, d, c, recipe, recipe_a, recipe_b, compiled_dims, disable_ue8m0_cast, alpha)


fp8_fp4_gemm_nt, fp8_fp4_gemm_nn, fp8_fp4_gemm_tn, fp8_fp4_gemm_tt = fp8_gemm_nt, fp8_gemm_nn, fp8_gemm_tn, fp8_gemm_tt


def gemm_fp8_fp8_bf16_nt(lhs: Pair, rhs: Pair, out: Any) -> None:
    """`fp8_gemm_nt` as version 1 of DeepGEMM called it."""
    fp8_gemm_nt(lhs, rhs, out)


def _refuse(d: Any, c: Any, alpha: float | None, compiled_dims: str) -> None:
    if d is None:
        raise TypeError("d: expected a BF16 matrix [M, N], got None; nvgemm.fp8_gemm_nt allocates one")
    if canonical(getattr(d, "dtype", None)) == "float32":
        raise missing("fp8_gemm_nt", "FP32 results (d) are", "pass a BF16 d")
    if c is not None:
        raise missing("fp8_gemm_nt", "accumulation (c) is", "add c to d after the call")
    if alpha is not None:
        raise missing("fp8_gemm_nt", "alpha is", "multiply the scales of b by it")
    if not isinstance(compiled_dims, str):
        raise TypeError(f"compiled_dims: expected a str, letters of 'mnk', got {compiled_dims!r}")
    if set(compiled_dims) - set("mnk"):
        raise ValueError(f"compiled_dims: expected letters of 'mnk', got {compiled_dims!r}")


def _recipe(recipe: Recipe | None, recipe_a: tuple[int, int] | None, recipe_b: tuple[int, int] | None) -> Recipe:
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
        raise missing(
            "fp8_gemm_nt", "recipe (1, 1, 128), a scale for each row of B, is", "pass b of per_block_cast_to_fp8"
        )
    return chosen


def _with_scales_laid_out(a: Pair, b: Pair, d: Any, recipe: Recipe) -> Pair:
    """`a`, its scales MN-major and padded: copied by the caller's library, in silence and in its own graph pools.

    The product's own transpose would warn, and take scratch that a capture on a fresh stream cannot allocate. All that
    can refuse the product comes before the copy, which a capture would record.
    """
    data, scales = checks.pair(a, "a")
    strides = view(scales, "a scales").strides
    if strides[:1] == (1,) and strides[-1] % 4 == 0:
        return data, scales
    num_sms = sm_limit.limit
    problem, operands, stream, _ = admit((data, scales, *checks.pair(b, "b"), d), recipe, None, num_sms)
    if problem.sfa_mn_major or not problem.m * problem.n * problem.k:
        return data, scales
    ready_kernel(problem._replace(sfa_mn_major=True), operands[0].device, stream, num_sms)
    return data, nvgemm.get_mn_major_tma_aligned_tensor(scales, stream=stream)


def _transposed(pair: Pair, name: str) -> Pair:
    data, scales = checks.pair(pair, name)
    for part in (data, scales):
        if not hasattr(part, "T"):
            raise TypeError(f"{name}: expected arrays that have .T, got {type(part).__name__}; fp8_gemm_nt needs none")
    return data.T, scales.T
