"""What DeepGEMM has and this package lacks: present by name, and refused by name when it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

_BLACKWELL = "nvgemm is for Hopper, which has no such operands"

# Module of this package -> (what is missing, what to do instead, names).
_TABLE: dict[str, tuple[tuple[str, str, str], ...]] = {
    "": (
        (
            "weight gradients, FP32 with a scale for each row of both operands, are",
            "multiply in BF16 with torch",
            "wgrad_gemm_fp8_fp8_fp32_nt k_grouped_wgrad_gemm_fp8_fp8_fp32_nt "
            "k_grouped_fp8_gemm_nt_contiguous k_grouped_fp8_gemm_tn_contiguous",
        ),
        (
            "BF16 products are",
            "use torch.matmul",
            "bf16_gemm_nt bf16_gemm_nn bf16_gemm_tn bf16_gemm_tt m_grouped_bf16_gemm_nt_contiguous "
            "m_grouped_bf16_gemm_nn_contiguous m_grouped_bf16_gemm_nt_masked bf16_m_grouped_gemm_nt_masked "
            "k_grouped_bf16_gemm_tn_contiguous cublaslt_gemm_nt cublaslt_gemm_nn cublaslt_gemm_tn cublaslt_gemm_tt "
            "batched_syrk batched_symm",
        ),
        ("einsum is", "use torch.einsum", "einsum"),
        ("batched FP8 products are", "call fp8_gemm_nt for each batch", "fp8_einsum"),
        (
            "gaps between the columns of D are",
            "call fp8_gemm_nt, and copy the columns",
            "fp8_gemm_nt_skip_head_mid",
        ),
        (
            "attention logits are",
            "",
            "fp8_mqa_logits fp8_paged_mqa_logits fp8_fp4_mqa_logits fp8_fp4_paged_mqa_logits "
            "fp8_fp4_sparse_mqa_logits fp8_fp4_paged_sparse_mqa_logits get_paged_mqa_logits_metadata "
            "get_mqa_logits_metadata get_sparse_mqa_logits_metadata get_paged_sparse_mqa_logits_metadata",
        ),
        ("hyperconnection kernels are", "", "tf32_hc_prenorm_gemm mega_mhc"),
        (
            "fused MoE kernels are",
            "",
            "SymmBuffer SM90SymmBuffer get_symm_buffer_for_mega_moe get_symm_buffer_for_sm90_mega_moe "
            "transform_weights_for_mega_moe transform_weights_for_mega_moe_sm90 get_block_m_for_mega_moe "
            "mega_moe_pre_dispatch fp8_mega_moe bf16_mega_moe bf16_mega_gate get_bf16_mega_gate_config",
        ),
        (
            "FP4 operands are",
            _BLACKWELL,
            "fp4_gemm_nt m_grouped_fp4_gemm_nt_contiguous m_grouped_fp4_gemm_nt_masked "
            "k_grouped_fp4_gemm_nt_contiguous cublaslt_nvfp4_gemm_nt fp8_fp4_mega_moe fp4_fp4_mega_moe",
        ),
    ),
    "utils.math": (
        ("packed UE8M0 scales are", _BLACKWELL, "pack_ue8m0_to_int unpack_ue8m0_from_int"),
        ("FP4 operands are", _BLACKWELL, "per_token_cast_to_fp4 transpose_packed_fp4 cast_back_from_fp4"),
    ),
    "utils.layout": (
        (
            "packed UE8M0 scales are",
            _BLACKWELL,
            "get_mn_major_tma_aligned_packed_ue8m0_tensor get_k_grouped_mn_major_tma_aligned_packed_ue8m0_tensor",
        ),
    ),
    "utils.dist": (
        ("set-up of several processes is", "use torch.distributed", "init_dist uneven_all_gather dist_print"),
    ),
}


def missing(name: str, what: str, instead: str) -> NotImplementedError:
    """The refusal of ``deep_gemm.<name>``: `what` ends in its verb, `instead` may be empty."""
    return NotImplementedError(f"deep_gemm.{name}: {what} missing in nvgemm" + (f"; {instead}" if instead else ""))


def functions(module: str) -> dict[str, Callable[..., NoReturn]]:
    """Functions for `module` of this package ("" is the package), by name, that raise when they are called."""
    return {name: _function(name, what, instead) for what, instead, names in _TABLE[module] for name in names.split()}


def _function(name: str, what: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise missing(name, what, instead)

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = f"Raise NotImplementedError: {what} missing in nvgemm."
    return refuse
