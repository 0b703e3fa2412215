"""From tokens to the first product of their experts: each expert's rows gathered, quantised and multiplied."""

from __future__ import annotations

import importlib
from itertools import accumulate
from typing import Any

import nvgemm
from nvgemm import moe
from nvgemm.bench.contender import OURS, Contender, Launch
from nvgemm.bench.grouped_operands import ALIGNMENT, Grouped
from nvgemm.bench.shapes import GroupedShape
from nvgemm.choice.problem import ceil_div

TOP_K = 8


class Chain(Grouped):
    """Tokens in BF16, and which experts they go to: as many rows to each as the shape states, at random.

    Attributes
    ----------
    x : torch.Tensor
        BF16 [tokens, K].
    rows, padded : Routing
        Of the tokens without gaps, and with experts that begin at multiples of 128 rows.
    a, b : Quantized
        [rows, K] as the product sees them, and [G, N, K].
    """

    def __init__(self, torch: Any, shape: GroupedShape) -> None:
        super().__init__(torch, shape, list(accumulate(shape.sizes, initial=0))[:-1])
        tokens = ceil_div(shape.m, TOP_K)
        experts = torch.arange(shape.groups, dtype=torch.int32, device="cuda")
        slots = experts.repeat_interleave(torch.tensor(shape.sizes, device="cuda"))
        slots = torch.cat([slots, slots.new_full((tokens * TOP_K - shape.m,), -1)])
        ids = slots[torch.randperm(len(slots), device="cuda")].reshape(tokens, TOP_K)
        self.x = torch.randn(tokens, shape.k, dtype=torch.bfloat16, device="cuda")
        self.rows = moe.route(ids, shape.groups)
        self.padded = moe.route(ids, shape.groups, layout="contiguous", alignment=ALIGNMENT)
        self.a = moe.permute(nvgemm.per_token_cast_to_fp8(self.x), self.rows)
        self.d, self.padded_d = self._result(self.rows.rows), self._result(self.padded.rows)

    def clear(self) -> None:
        super().clear()
        self.padded_d.fill_(float("nan"))

    def valid(self, result: Any) -> Any:
        return result[self.padded.token_of_row >= 0] if result is self.padded_d else result[: self.shape.m]


def _nvgemm(o: Chain) -> Launch:
    def launch() -> Any:
        a = moe.permute(nvgemm.per_token_cast_to_fp8(o.x), o.rows)
        return nvgemm.m_grouped_fp8_gemm_nt_offsets(a, o.b, o.d, o.rows.layout, expected_m=o.shape.rows)

    return launch


def _deepgemm(o: Chain) -> Launch:
    """Its product wants padded experts; torch gathers, and the quantiser is nvgemm's, since DeepGEMM has none."""
    multiply = importlib.import_module("deep_gemm").m_grouped_fp8_gemm_nt_contiguous
    tokens = o.padded.token_of_row.clamp(min=0)

    def launch() -> Any:
        a = nvgemm.per_token_cast_to_fp8(o.x.index_select(0, tokens))
        multiply(tuple(a), tuple(o.b), o.padded_d, o.padded.layout)
        return o.padded_d

    return launch


CHAIN = (
    Contender(OURS, "per_token_cast_to_fp8, moe.permute, m_grouped_fp8_gemm_nt_offsets", True, _nvgemm),
    Contender("deepgemm", "index_select to 128 rows, the same quantiser, its contiguous call", True, _deepgemm),
)
