"""The contenders of the grouped suites."""

from __future__ import annotations

import importlib
from typing import Any

import nvgemm
from nvgemm.bench.contender import OURS, Contender, Launch
from nvgemm.bench.grouped_operands import Contiguous, Masked, Offsets
from nvgemm.bench.read_floor import READ_FLOOR

_MASKED_NAMES = ("m_grouped_fp8_gemm_nt_masked", "fp8_m_grouped_gemm_nt_masked")  # by DeepGEMM's builds


def _contiguous(o: Contiguous) -> Launch:
    return lambda: nvgemm.m_grouped_fp8_gemm_nt_contiguous(o.a, o.b, o.d, o.grouped_layout)


def _offsets(o: Offsets) -> Launch:
    expected_m = o.shape.rows
    return lambda: nvgemm.m_grouped_fp8_gemm_nt_offsets(o.dense_a, o.b, o.dense_d, o.offsets, expected_m=expected_m)


def _masked(o: Masked) -> Launch:
    return lambda: nvgemm.m_grouped_fp8_gemm_nt_masked(o.a, o.b, o.d, o.masked_m, o.shape.rows)


def _deepgemm_contiguous(o: Contiguous) -> Launch:
    deep_gemm = importlib.import_module("deep_gemm")
    a = o.a.data, deep_gemm.get_mn_major_tma_aligned_tensor(o.a.scales)

    def launch() -> Any:
        deep_gemm.m_grouped_fp8_gemm_nt_contiguous(a, tuple(o.b), o.d, o.grouped_layout)
        return o.d

    return launch


def _deepgemm_masked(o: Masked) -> Launch:
    deep_gemm = importlib.import_module("deep_gemm")
    a = o.a.data, deep_gemm.get_mn_major_tma_aligned_tensor(o.a.scales)
    multiply = next((getattr(deep_gemm, name) for name in _MASKED_NAMES if hasattr(deep_gemm, name)), None)
    if multiply is None:
        raise RuntimeError(f"deep_gemm has none of {', '.join(_MASKED_NAMES)}")

    def launch() -> Any:
        multiply(a, tuple(o.b), o.d, o.masked_m, o.shape.rows)
        return o.d

    return launch


_BESIDE = "the same tokens and scales"
GROUPED = {
    "contiguous": (
        Contender(OURS, "m_grouped_fp8_gemm_nt_contiguous, scales 1×128 and 128×128", True, _contiguous),
        Contender("deepgemm", f"its contiguous call, {_BESIDE}", True, _deepgemm_contiguous),
    ),
    "masked": (
        Contender(OURS, "m_grouped_fp8_gemm_nt_masked, scales 1×128 and 128×128", True, _masked),
        Contender("deepgemm", f"its masked call, {_BESIDE}", True, _deepgemm_masked),
        READ_FLOOR,
    ),
    "offsets": (
        Contender(OURS, "m_grouped_fp8_gemm_nt_offsets, scales 1×128 and 128×128", True, _offsets),
        Contender("deepgemm", f"its contiguous call, groups padded to 128 rows, {_BESIDE}", True, _deepgemm_contiguous),
    ),
}
