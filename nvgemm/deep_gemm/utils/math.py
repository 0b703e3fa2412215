"""DeepGEMM's quantisers in torch operations: its bits, its layouts, any device, any strides.

`nvgemm.per_token_cast_to_fp8` and `nvgemm.per_block_cast_to_fp8` are the fast ones: one kernel each, scales laid out as
the product reads them, but in another layout and sometimes another last bit than these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvgemm.choice.problem import align, ceil_div
from nvgemm.deep_gemm import refused

if TYPE_CHECKING:
    from torch import Tensor

_missing = refused.functions("utils.math")
globals().update(_missing)

__all__ = [
    "align",
    "ceil_div",
    "ceil_to_ue8m0",
    "per_block_cast_to_fp8",
    "per_channel_cast_to_fp8",
    "per_custom_dims_cast_to_fp8",
    "per_token_cast_to_fp8",
    *_missing,
]

_E4M3_MAX = 448.0
_AMAX_FLOOR = 1e-4
_MANTISSA = (1 << 23) - 1  # of FP32
_SMALLEST, _LARGEST = 1 << 23, 254 << 23  # bits of the FP32 powers of two 2⁻¹²⁶ and 2¹²⁷


def ceil_to_ue8m0(x: Tensor) -> Tensor:
    """Magnitudes rounded up to powers of two, FP32, from 2⁻¹²⁶ to 2¹²⁷."""
    import torch

    bits = x.abs().float().view(torch.int32).clamp(_SMALLEST, _LARGEST)
    return ((bits + _MANTISSA) & ~_MANTISSA).view(torch.float32)


def per_token_cast_to_fp8(
    x: Tensor, use_ue8m0: bool, gran_k: int = 128, use_packed_ue8m0: bool = False
) -> tuple[Tensor, Tensor]:
    """Quantise with one scale for each row and `gran_k` columns.

    With ``amax = max(|x|, 1e-4)`` over these, ``scale = amax / 448`` and ``data = x · (1 / scale)`` in FP32.

    Parameters
    ----------
    x : tensor, [M, K]
        Any real floating dtype, device and strides.
    use_ue8m0 : bool
        Round scales up to powers of two.

    Returns
    -------
    (tensor, tensor)
        E4M3 [M, K] and FP32 [M, ceil(K/gran_k)], both contiguous.
    """
    if use_packed_ue8m0:
        raise refused.missing("per_token_cast_to_fp8", "packed UE8M0 scales (use_packed_ue8m0) are", "")
    return _cast(x, 1, gran_k, use_ue8m0)


def per_block_cast_to_fp8(x: Tensor, use_ue8m0: bool, gran_k: int = 128) -> tuple[Tensor, Tensor]:
    """`per_token_cast_to_fp8` with one scale, of [ceil(N/gran_k), ceil(K/gran_k)], for each square block."""
    return _cast(x, gran_k, gran_k, use_ue8m0)


def per_channel_cast_to_fp8(x: Tensor, use_ue8m0: bool, gran_k: int = 128) -> tuple[Tensor, Tensor]:
    """`per_token_cast_to_fp8` of [K, N]: one scale, of [K/gran_k, N], for each `gran_k` rows and column."""
    if x.shape[0] % gran_k:
        raise ValueError(f"x: expected a multiple of gran_k={gran_k} rows, got shape {tuple(x.shape)}")
    return _cast(x, gran_k, 1, use_ue8m0)


def per_custom_dims_cast_to_fp8(x: Tensor, dims: tuple[int, ...], use_ue8m0: bool) -> tuple[Tensor, Tensor]:
    """Quantise with one scale for each index of the dimensions `dims`; the scales are squeezed."""
    others = tuple(dim for dim in range(x.dim()) if dim not in dims)
    data, scales = _scaled(x.float(), others, use_ue8m0)
    return data, scales.squeeze()


def _cast(x: Tensor, rows: int, columns: int, use_ue8m0: bool) -> tuple[Tensor, Tensor]:
    """Quantise a matrix by blocks of `rows` × `columns`, the last ones of a side smaller."""
    if x.dim() != 2:
        raise ValueError(f"x: expected a matrix, got {x.dim()} dimensions, shape {tuple(x.shape)}")
    m, n = x.shape
    grid = ceil_div(m, rows), ceil_div(n, columns)
    whole = grid[0] * rows, grid[1] * columns
    padded = x.new_zeros(whole).float()
    padded[:m, :n] = x
    data, scales = _scaled(padded.view(grid[0], rows, grid[1], columns), (1, 3), use_ue8m0)
    return data.view(whole)[:m, :n].contiguous(), scales.view(grid)


def _scaled(x: Tensor, dims: tuple[int, ...], use_ue8m0: bool) -> tuple[Tensor, Tensor]:
    """Codes of FP32 `x`, and the scales of what lies along `dims`, which stay as dimensions of size 1."""
    import torch

    scales = x.abs().amax(dim=dims, keepdim=True).clamp(min=_AMAX_FLOOR) / _E4M3_MAX
    if use_ue8m0:
        scales = ceil_to_ue8m0(scales)
    return (x * (1.0 / scales)).to(torch.float8_e4m3fn), scales
