"""What the promotion to FP32 is worth: the error of a product against K, with it and without, without a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nvgemm import reference
from nvgemm.bench.layer import token_errors
from nvgemm.choice.config import BLOCK_K
from nvgemm.choice.problem import ceil_div

DEPTHS = tuple(BLOCK_K << doublings for doublings in range(8))  # 128 … 16384


@dataclass(frozen=True, slots=True)
class ErrorAtK:
    """Relative error ‖d − ref‖ / ‖ref‖ of a row of the product: (median, worst) over its rows."""

    k: int
    promoted: tuple[float, float]
    unpromoted: tuple[float, float]
    bf16: tuple[float, float]  # of the exact product rounded to BF16, as every result is


def error_against_k(
    depths: Sequence[int] = DEPTHS, *, rows: int = 64, columns: int = 256, seed: int = 0
) -> list[ErrorAtK]:
    """Error of an FP8 product against FP64 for each K, the tensor core's accumulation emulated bit for bit.

    Parameters
    ----------
    depths : sequence of int
        The Ks, multiples of 128.
    rows, columns : int
        M and N. The errors are of rows of `columns` elements.
    seed : int
        Of the operands: normal random, rounded to E4M3 with one scale a matrix, so that both ways sum the same codes.

    Returns
    -------
    list of ErrorAtK
        Of sums in FP32, before they are rounded to BF16.

    Raises
    ------
    ValueError
        A K is not a positive multiple of 128.

    Notes
    -----
    Takes about four seconds with the defaults.
    """
    for k in depths:
        if k <= 0 or k % BLOCK_K:
            raise ValueError(f"depths: K = {k} is not a positive multiple of {BLOCK_K}")
    rng = np.random.default_rng(seed)
    longest = max(depths, default=BLOCK_K)
    a, b = (
        reference.per_tensor_cast_to_fp8(rng.standard_normal((size, longest), dtype=np.float32)).data
        for size in (rows, columns)
    )
    return [_error(a[:, :k], b[:, :k]) for k in depths]


def _error(a: np.ndarray, b: np.ndarray) -> ErrorAtK:
    """Of E4M3 codes; the scales are left out, as one factor of everything changes no relative error."""
    blocks = a.shape[1] // BLOCK_K
    ones_a, ones_b = np.ones((len(a), blocks), np.float32), np.ones((ceil_div(len(b), BLOCK_K), blocks), np.float32)
    values_a, values_b = reference.decode_e4m3(a), reference.decode_e4m3(b)
    exact = values_a.astype(np.float64) @ values_b.astype(np.float64).T
    promoted = reference.promoted_gemm(a, ones_a, b, ones_b)
    unpromoted = reference.tensor_core_accumulate(a, b)
    results = (promoted, unpromoted, reference.round_to_bf16(exact))
    return ErrorAtK(a.shape[1], *(token_errors(result, values_a, values_b) for result in results))
