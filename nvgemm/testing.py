"""Is a product right? Two measures of the whole matrix, and one of every element, which one wrong element fails.

How far a right element may be off
----------------------------------
Rounding to BF16 costs 2⁻⁹ of the element. The other error comes from the tensor core, which sums 128 of K in four steps
of 32 (`nvgemm.reference.tensor_core_accumulate`). Each step cuts 32 products and the accumulator off, toward zero, at a
unit u = 2⁻¹³ · 2^E, where 2^E is at most the larger of the largest product and the accumulator. Let T be the sum of
|a·b| over the 128, and r · T the size of the sum of a·b itself.

* Coherent part. A cut toward zero has the sign of what is cut, and u/2 on average, so cuts add up as far as the
  products have one sign, which is what r measures. With one sign throughout (r = 1) the accumulator is 0, T/4, T/2 and
  3T/4 before the four steps, and 33 cuts of u/2 each come to 33/2 · (0 + 1 + 2 + 3)/4 · 2⁻¹³ T ≈ 25 · 2⁻¹³ T.
* Incoherent part. 132 cuts of random sign, each uniform in [0, u): standard deviation √(132/3) u ≈ 6.6 u. The unit is
  2⁻¹³ T only where one product makes up all of T, and then the other 127 have nothing left to cut. Where the largest is
  T/8, as for normal data, six standard deviations are 5 · 2⁻¹³ T; where it is T/3, they are 13 · 2⁻¹³ T.

Scaled and summed over K (the FP32 promotion adds 2⁻²⁴ a block, nothing in comparison), T becomes Σ|a·b| and r·T the
reference. With 25 and 13 taken as 32 and 16:

    |d − ref| ≤ 2⁻⁸ |ref| + c Σ|a·b|,    c = 2⁻⁸ |ref| / Σ|a·b| + 2⁻⁹ / √blocks

`blocks` is the number of 128s of K over which the magnitudes are alike: the errors of different blocks are independent,
so their sum grows only by the root. In the emulation normal data, also with outlier channels, come to 0.5 of the bound,
and the worst tried, Cauchy and log-normal on both sides, to 0.85. The limit on the Frobenius norm is for data without
such tails: there a few one-signed elements make up the norm, and their coherent part alone reaches it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DIFF = 1e-5
MAX_RELATIVE_FROBENIUS = 2.5e-3
_ROUNDING, _COHERENT, _INCOHERENT = 2.0**-8, 2.0**-8, 2.0**-9


def calc_diff(x: Any, y: Any) -> float:
    """1 − 2⟨x, y⟩ / (⟨x, x⟩ + ⟨y, y⟩) in FP64: half the squared relative error. 0 for empty or all-zero arrays.

    The measure of DeepGEMM's tests (``deep_gemm.testing.calc_diff``).

    Parameters
    ----------
    x, y : array_like, [...]
        On the host, of one shape and any real dtype, BF16 as ``ml_dtypes.bfloat16``.
    """
    x, y = _fp64(x), _fp64(y)
    total = float((x * x + y * y).sum())
    return float(((x - y) ** 2).sum()) / total if total else 0.0


def relative_frobenius(d: Any, ref: Any) -> float:
    """‖d − ref‖ / ‖ref‖ in FP64; 0 where both are zero, infinity where only `ref` is.

    Parameters
    ----------
    d, ref : array_like, [...]
        On the host, of one shape and any real dtype, BF16 as ``ml_dtypes.bfloat16``.
    """
    d, ref = _fp64(d), _fp64(ref)
    error, size = float(((d - ref) ** 2).sum()), float((ref**2).sum())
    return math.sqrt(error / size) if size else math.inf if error else 0.0


def element_bound(ref: Any, abs_sum: Any, *, blocks: int = 1) -> NDArray[Any]:
    """How far each element of a BF16 product may be from `ref`; the module's text derives it.

    Parameters
    ----------
    ref, abs_sum : array_like, [M, N]
        The product and Σ|a·b| of the dequantised operands, FP64, as in `assert_close`.
    blocks : int
        As in `assert_close`.

    Returns
    -------
    ndarray of float64, [M, N]
    """
    return (_ROUNDING + _COHERENT) * abs(_fp64(ref)) + _INCOHERENT / math.sqrt(blocks) * _fp64(abs_sum)


def assert_close(d: Any, ref: Any, abs_sum: Any, *, blocks: int = 1) -> None:
    """Raise AssertionError unless `d` is a right BF16 product, by three measures and every element.

    Parameters
    ----------
    d : array_like, [M, N]
        The result, on the host: any real dtype, BF16 as ``ml_dtypes.bfloat16`` or converted to FP32.
    ref : array_like, [M, N]
        The product in FP64 of the dequantised operands, such as `nvgemm.reference.gemm`.
    abs_sum : array_like, [M, N]
        Σ|a·b| in FP64 of the dequantised operands, such as `nvgemm.reference.absolute_gemm`.
    blocks : int
        ceil(K/128) where magnitudes are alike all along K, as in random normal data: a tighter bound. 1 suits any.

    Raises
    ------
    AssertionError
        Shapes differ; NaN or infinities are not where those of `ref` are; an element is off by more than
        `element_bound`, and the worst is named; `calc_diff` is above 1e-5 or `relative_frobenius` above 2.5e-3.
    """
    d, ref, abs_sum = _fp64(d), _fp64(ref), _fp64(abs_sum)
    if not d.shape == ref.shape == abs_sum.shape:
        raise AssertionError(f"shapes differ: d {d.shape}, ref {ref.shape}, abs_sum {abs_sum.shape}")
    _same_positions("NaN", np.isnan(d), np.isnan(ref), d, ref)
    overflow = np.where(abs(ref) >= _BF16_OVERFLOW, np.sign(ref), 0)
    _same_positions("infinity", np.where(np.isinf(d), np.sign(d), 0), overflow, d, ref)
    finite = np.isfinite(d) & np.isfinite(ref)
    d, ref, abs_sum = (np.where(finite, x, 0) for x in (d, ref, abs_sum))
    _every_element(d, ref, element_bound(ref, abs_sum, blocks=blocks))
    for name, got, limit in (
        ("calc_diff", calc_diff(d, ref), MAX_DIFF),
        ("relative_frobenius", relative_frobenius(d, ref), MAX_RELATIVE_FROBENIUS),
    ):
        if not got <= limit:
            raise AssertionError(f"{name} is {got:.3g}, above {limit:g}, though every element is within its bound")


_BF16_OVERFLOW = (2 - 2.0**-8) * 2.0**127  # what rounds to infinity


def _fp64(x: Any) -> NDArray[Any]:
    return np.asarray(x).astype(np.float64)


def _same_positions(what: str, got: NDArray[Any], expected: NDArray[Any], d: NDArray[Any], ref: NDArray[Any]) -> None:
    wrong = got != expected
    if wrong.any():
        at = _first(wrong)
        raise AssertionError(
            f"{what}: {int(wrong.sum())} of {wrong.size} elements differ, first d{at} = {d[tuple(at)]:.8g}, "
            f"expected {ref[tuple(at)]:.8g}{_region(wrong)}"
        )


def _every_element(d: NDArray[Any], ref: NDArray[Any], bound: NDArray[Any]) -> None:
    error = abs(d - ref)
    wrong = ~(error <= bound)
    if not wrong.any():
        return
    ratio = error / np.maximum(bound, np.finfo(np.float64).tiny)
    worst = np.unravel_index(int(np.argmax(np.where(wrong, ratio, -1))), d.shape)
    at = [int(i) for i in worst]
    raise AssertionError(
        f"d{at} = {d[worst]:.8g}, expected {ref[worst]:.8g}: off by {error[worst]:.3g}, allowed {bound[worst]:.3g}; "
        f"{int(wrong.sum())} of {wrong.size} elements are off{_region(wrong)}"
    )


def _first(wrong: NDArray[Any]) -> list[int]:
    return [int(i) for i in np.unravel_index(int(np.argmax(wrong)), wrong.shape)]


def _region(wrong: NDArray[Any]) -> str:
    """Rows and columns that the wrong elements lie in: often it says which tile, strip or tail is at fault."""
    if wrong.ndim != 2:
        return ""
    rows, columns = np.nonzero(wrong)
    return f", in rows {rows.min()}–{rows.max()} and columns {columns.min()}–{columns.max()}"
