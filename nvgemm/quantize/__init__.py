"""Operands of the product from ordinary matrices: quantised on the device, scales laid out for it."""

from nvgemm.quantize.cast import per_block_cast_to_fp8, per_token_cast_to_fp8
from nvgemm.quantize.quantized import Quantized
from nvgemm.quantize.scales import (
    get_mn_major_tma_aligned_tensor,
    get_tma_aligned_size,
    transform_sf_into_required_layout,
    transpose,
)

__all__ = [
    "Quantized",
    "get_mn_major_tma_aligned_tensor",
    "get_tma_aligned_size",
    "per_block_cast_to_fp8",
    "per_token_cast_to_fp8",
    "transform_sf_into_required_layout",
    "transpose",
]
