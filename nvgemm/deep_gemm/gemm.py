"""Dense FP8 products with DeepGEMM's signatures: its arguments to those of `nvgemm.fp8_gemm_nt`, refusals by name."""

from __future__ import annotations

from typing import Any

import nvgemm
from nvgemm.choice import checks
from nvgemm.deep_gemm.arguments import Pair, Recipe, check_compiled_dims, one_recipe, turned
from nvgemm.deep_gemm.refused import missing
from nvgemm.deep_gemm.row_scales import laid_out
from nvgemm.product import dense
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
    chosen = one_recipe("fp8_gemm_nt", recipe, recipe_a, recipe_b)
    nvgemm.fp8_gemm_nt(laid_out(checks.operands(a, b, d), dense(chosen)), b, d, recipe=chosen)


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
    b = turned(b, "b")
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
    a, b = turned(a, "a"), turned(b, "b")
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
    a = turned(a, "a")
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
    check_compiled_dims(compiled_dims)
