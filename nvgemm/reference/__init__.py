"""The NumPy oracle: E4M3 and BF16 bit for bit, quantisers, dense and grouped products, and limited accumulation.

Everything here runs without a GPU. Quantised data are ``uint8`` arrays of E4M3 codes; arrays tagged
``ml_dtypes.float8_e4m3fn`` are taken as well.
"""

from nvgemm.reference.accumulation import promoted_gemm, tensor_core_accumulate
from nvgemm.reference.formats import decode_bf16, decode_e4m3, encode_bf16, encode_e4m3, round_to_bf16
from nvgemm.reference.grouped import (
    absolute_grouped_gemm,
    grouped_gemm,
    rows_of_contiguous,
    rows_of_masked,
    rows_of_offsets,
    rows_of_psum,
)
from nvgemm.reference.moe import combine, permute, route
from nvgemm.reference.product import absolute_gemm, dequantise, gemm
from nvgemm.reference.quantisers import per_block_cast_to_fp8, per_tensor_cast_to_fp8, per_token_cast_to_fp8

__all__ = [
    "absolute_gemm",
    "absolute_grouped_gemm",
    "combine",
    "decode_bf16",
    "decode_e4m3",
    "dequantise",
    "encode_bf16",
    "encode_e4m3",
    "gemm",
    "grouped_gemm",
    "per_block_cast_to_fp8",
    "per_tensor_cast_to_fp8",
    "per_token_cast_to_fp8",
    "permute",
    "promoted_gemm",
    "round_to_bf16",
    "route",
    "rows_of_contiguous",
    "rows_of_masked",
    "rows_of_offsets",
    "rows_of_psum",
    "tensor_core_accumulate",
]
