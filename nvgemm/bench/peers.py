"""The contenders: nvgemm and other libraries, on the same operands in the same process."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import nvgemm
from nvgemm.bench.chain import CHAIN
from nvgemm.bench.contender import OURS, Contender, Launch
from nvgemm.bench.grouped_peers import GROUPED
from nvgemm.bench.operands import Operands, Scaled
from nvgemm.bench.read_floor import READ_FLOOR


def contenders(suite: str, names: Sequence[str] | None = None) -> tuple[list[Contender], dict[str, str]]:
    """Those of `names` that the suite has and that can be imported, nvgemm first, and why the others cannot take part.

    Raises
    ------
    ValueError
        A name is not known.
    """
    known = dict.fromkeys(contender.name for line_up in LINE_UPS.values() for contender in line_up)
    if unknown := set(names or ()) - known.keys():
        raise ValueError(f"contenders: {', '.join(sorted(unknown))} not known; there are {', '.join(known)}")
    asked = [OURS, *(names or (contender.name for contender in (*DENSE, *LINE_UPS[suite])))]
    own = {contender.name: contender for contender in LINE_UPS[suite]}
    missing = {name: _absence(name) for name in asked if name not in own}
    found = []
    for name, contender in own.items():
        if name not in asked:
            continue
        try:
            for module in _NEEDS.get(name, ()):
                importlib.import_module(module)
        except Exception as error:  # a broken installation must not stop the others; the report says what broke
            missing[name] = f"{type(error).__name__}: {error}"
        else:
            found.append(contender)
    return found, missing


def _absence(name: str) -> str:
    """Why a contender of another suite is none of this one."""
    if name == READ_FLOOR.name:
        return "it stands beside the masked suite only"
    return "it multiplies one pair of matrices a call, not groups"


def _nvgemm(o: Operands) -> Launch:
    return lambda: nvgemm.fp8_gemm_nt(o.a, o.b, o.d)


def _deepgemm(o: Operands) -> Launch:
    deep_gemm = importlib.import_module("deep_gemm")
    a = o.a.data, deep_gemm.get_mn_major_tma_aligned_tensor(o.a.scales)

    def launch() -> Any:
        deep_gemm.fp8_gemm_nt(a, tuple(o.b), o.d, compiled_dims="nk")  # the default of some of its builds is slower
        return o.d

    return launch


def _triton(o: Operands) -> Launch:
    multiply = importlib.import_module("nvgemm.bench.triton_gemm").block_scaled_gemm
    return lambda: multiply(o.a, o.b, o.d)


def _block128(o: Operands) -> Launch:
    return _scaled_mm(o, (o.a.data, _unpadded(o)), (o.b.data, o.b.scales.T))


def _block1(o: Operands) -> Launch:
    scales = o.b.scales.repeat_interleave(128, 0)[: o.n]
    return _scaled_mm(o, (o.a.data, _unpadded(o)), (o.b.data, scales.T.contiguous()))


def _unpadded(o: Operands) -> Any:
    """A's scales as cuBLASLt wants them: [m, k/128] with strides (1, m)."""
    return o.a.scales.T.contiguous().T


def _per_tensor(o: Operands) -> Launch:
    return _scaled_mm(o, *o.per_tensor, fast=True)


def _per_row(o: Operands) -> Launch:
    a, (b, scales) = o.per_row
    return _scaled_mm(o, a, (b, scales.T), fast=True)


def _scaled_mm(o: Operands, a: Scaled, b: Scaled, fast: bool = False) -> Launch:
    options = {"out_dtype": o.torch.bfloat16, "use_fast_accum": fast}
    return lambda: o.torch._scaled_mm(a[0], b[0].T, scale_a=a[1], scale_b=b[1], **options, out=o.d)


def _bf16(o: Operands) -> Launch:
    return lambda: o.torch.mm(o.x, o.w.T, out=o.d)


DENSE = (
    Contender(OURS, "fp8_gemm_nt, scales 1×128 and 128×128", True, _nvgemm),
    Contender("deepgemm", "deep_gemm.fp8_gemm_nt, the same scales", True, _deepgemm),
    Contender("cublaslt_block128", "torch._scaled_mm, scales 1×128 and 128×128", True, _block128),
    Contender("cublaslt_block1", "torch._scaled_mm, scales 1×128 for both", True, _block1),
    Contender("triton", "a plain Triton kernel, scales 1×128 and 128×128", True, _triton),
    Contender("cublaslt_tensor", "torch._scaled_mm, one scale a matrix, no promotion", False, _per_tensor),
    Contender("cublaslt_row", "torch._scaled_mm, one scale a row, no promotion", False, _per_row),
    Contender("bf16", "torch.mm in BF16", False, _bf16),
)
LINE_UPS: dict[str, tuple[Contender, ...]] = {"dense": DENSE, "others": DENSE, **GROUPED, "chain": CHAIN}
_NEEDS = {"deepgemm": ("deep_gemm",), "triton": ("triton",)}
