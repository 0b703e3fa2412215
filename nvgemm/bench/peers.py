"""Other libraries on the same operands, in the same process. Each is a function that launches, or is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def cublaslt(torch: Any, a: Any, b: Any) -> dict[str, Callable[[], object]]:
    """cuBLASLt through `torch._scaled_mm`: block128 is the same job, block1 has a scale for each row of B.

    Parameters
    ----------
    a, b : Quantized
        Of torch tensors, as nvgemm's quantisers make them.
    """
    sfa = a.scales.T.contiguous().T  # its (M, K/128) has strides (1, M), without padding
    per_row = b.scales.repeat_interleave(128, 0)[: b.data.shape[0]]
    scales = {"cublaslt block128": b.scales.T, "cublaslt block1": per_row.T.contiguous()}
    return {name: launch for name, sfb in scales.items() if (launch := _scaled_mm(torch, a.data, sfa, b.data, sfb))}


def _scaled_mm(torch: Any, a: Any, sfa: Any, b: Any, sfb: Any) -> Callable[[], object] | None:
    def launch() -> object:
        return torch._scaled_mm(a, b.T, scale_a=sfa, scale_b=sfb, out_dtype=torch.bfloat16, use_fast_accum=False)

    try:
        launch()
    except (RuntimeError, ValueError):  # this cuBLASLt has no kernel for the shape
        return None
    return launch
