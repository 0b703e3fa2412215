"""FP8 matrix products for NVIDIA Hopper with fine-grained scaling: compiled by NVRTC, post-processed, launched.

Names are loaded on first use, so that importing the package costs nothing and needs no GPU and no CUDA.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nvgemm import settings as settings
from nvgemm.errors import CacheWarning as CacheWarning
from nvgemm.errors import CompileError as CompileError
from nvgemm.errors import CudaError as CudaError
from nvgemm.errors import DriverTooOldError as DriverTooOldError
from nvgemm.errors import PerformanceWarning as PerformanceWarning
from nvgemm.errors import SassError as SassError
from nvgemm.errors import SassWarning as SassWarning
from nvgemm.errors import UnsupportedDeviceError as UnsupportedDeviceError

if TYPE_CHECKING:
    from nvgemm import moe as moe
    from nvgemm import reference as reference
    from nvgemm import testing as testing
    from nvgemm.choice.alignment import get_mk_alignment_for_contiguous_layout as get_mk_alignment_for_contiguous_layout
    from nvgemm.choice.alignment import (
        get_theoretical_mk_alignment_for_contiguous_layout as get_theoretical_mk_alignment_for_contiguous_layout,
    )
    from nvgemm.choice.alignment import set_mk_alignment_for_contiguous_layout as set_mk_alignment_for_contiguous_layout
    from nvgemm.gemm import fp8_gemm_nt as fp8_gemm_nt
    from nvgemm.grouped import batched_fp8_gemm_nt as batched_fp8_gemm_nt
    from nvgemm.grouped import m_grouped_fp8_gemm_nt_contiguous as m_grouped_fp8_gemm_nt_contiguous
    from nvgemm.grouped import m_grouped_fp8_gemm_nt_masked as m_grouped_fp8_gemm_nt_masked
    from nvgemm.grouped import m_grouped_fp8_gemm_nt_offsets as m_grouped_fp8_gemm_nt_offsets
    from nvgemm.prepared import Plan as Plan
    from nvgemm.prepared import plan as plan
    from nvgemm.quantize import Quantized as Quantized
    from nvgemm.quantize import get_mn_major_tma_aligned_tensor as get_mn_major_tma_aligned_tensor
    from nvgemm.quantize import get_tma_aligned_size as get_tma_aligned_size
    from nvgemm.quantize import per_block_cast_to_fp8 as per_block_cast_to_fp8
    from nvgemm.quantize import per_token_cast_to_fp8 as per_token_cast_to_fp8
    from nvgemm.quantize import transform_sf_into_required_layout as transform_sf_into_required_layout
    from nvgemm.runtime.arrays import ArrayView as ArrayView
    from nvgemm.runtime.memory import Array as Array
    from nvgemm.runtime.overlap import get_pdl as get_pdl
    from nvgemm.runtime.overlap import set_pdl as set_pdl
    from nvgemm.runtime.sm_limit import get_num_sms as get_num_sms
    from nvgemm.runtime.sm_limit import set_num_sms as set_num_sms

__version__ = "0.1.0"

_MODULES = ("moe", "reference", "testing")
_HOME = {
    "fp8_gemm_nt": "gemm",
    "m_grouped_fp8_gemm_nt_contiguous": "grouped",
    "m_grouped_fp8_gemm_nt_masked": "grouped",
    "m_grouped_fp8_gemm_nt_offsets": "grouped",
    "batched_fp8_gemm_nt": "grouped",
    "get_mk_alignment_for_contiguous_layout": "choice.alignment",
    "set_mk_alignment_for_contiguous_layout": "choice.alignment",
    "get_theoretical_mk_alignment_for_contiguous_layout": "choice.alignment",
    "plan": "prepared",
    "Plan": "prepared",
    "Quantized": "quantize",
    "per_token_cast_to_fp8": "quantize",
    "per_block_cast_to_fp8": "quantize",
    "transform_sf_into_required_layout": "quantize",
    "get_mn_major_tma_aligned_tensor": "quantize",
    "get_tma_aligned_size": "quantize",
    "set_num_sms": "runtime.sm_limit",
    "get_num_sms": "runtime.sm_limit",
    "set_pdl": "runtime.overlap",
    "get_pdl": "runtime.overlap",
    "Array": "runtime.memory",
    "ArrayView": "runtime.arrays",
}
_ERRORS = [name for name in globals() if name.endswith(("Error", "Warning"))]

__all__ = ["__version__", "settings", *_ERRORS, *_MODULES, *_HOME]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"nvgemm.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'nvgemm' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"nvgemm.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
