"""A plain block-scaled product in Triton, to compare with: one CTA a tile, tuned over a few tile sizes."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from nvgemm import Quantized

CONFIGS = [
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "GROUP_M": 8}, num_warps=4, num_stages=5),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 128, "GROUP_M": 8}, num_warps=4, num_stages=4),
    triton.Config({"BLOCK_M": 128, "BLOCK_N": 128, "GROUP_M": 8}, num_warps=8, num_stages=4),
]


def block_scaled_gemm(a: Quantized, b: Quantized, d: Any) -> Any:
    """``d[m, n] = Σ_k a[m, k]·sfa[m, k//128] · b[n, k]·sfb[n//128, k//128]`` for torch tensors.

    Parameters
    ----------
    a : Quantized
        E4M3 [M, K] contiguous, and FP32 [M, K/128] MN-major; K a multiple of 128.
    b : Quantized
        E4M3 [N, K] contiguous, and FP32 [ceil(N/128), K/128] contiguous.
    d : torch.Tensor
        BF16 [M, N] contiguous; returned.
    """
    (m, k), n = a.data.shape, b.data.shape[0]
    if k % 128:
        raise ValueError(f"a: K must be a multiple of 128 for this kernel, got {k}")

    def grid(meta: dict[str, int]) -> tuple[int]:
        return (triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]),)

    _kernel[grid](a.data, a.scales, b.data, b.scales, d, m, n, k, a.scales.stride(1), b.scales.stride(0))
    return d


def _do_bench(launch: Any, quantiles: Any) -> Any:
    return triton.testing.do_bench(launch, warmup=5, rep=20, quantiles=quantiles)


@triton.autotune(CONFIGS, key=["M", "N", "K"], do_bench=_do_bench)
@triton.jit
def _kernel(  # type: ignore[no-untyped-def]
    a,
    sfa,
    b,
    sfb,
    d,
    M,
    N,
    K,
    sfa_stride,
    sfb_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    GROUP_M: tl.constexpr,
):
    BLOCK_K: tl.constexpr = 128
    tile = tl.program_id(0)
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    group = tile // (GROUP_M * tiles_n)
    height = min(tiles_m - group * GROUP_M, GROUP_M)
    tile_m = group * GROUP_M + tile % (GROUP_M * tiles_n) % height
    tile_n = tile % (GROUP_M * tiles_n) // height

    rows = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    columns = tile_n * BLOCK_N + tl.arange(0, BLOCK_N)
    ks = tl.arange(0, BLOCK_K)
    a_tile = a + (rows % M).to(tl.int64)[:, None] * K + ks[None, :]
    b_tile = b + (columns % N).to(tl.int64)[None, :] * K + ks[:, None]
    sfa_rows = sfa + rows % M
    sfb_block = sfb + tile_n * BLOCK_N // 128 * sfb_stride

    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for k_block in range(K // BLOCK_K):
        scale_a = tl.load(sfa_rows + k_block * sfa_stride)
        scale_b = tl.load(sfb_block + k_block)
        partial = tl.dot(tl.load(a_tile), tl.load(b_tile))
        total += partial * (scale_a * scale_b)[:, None]
        a_tile += BLOCK_K
        b_tile += BLOCK_K

    inside = (rows < M)[:, None] & (columns < N)[None, :]
    tl.store(d + rows.to(tl.int64)[:, None] * N + columns[None, :], total.to(tl.bfloat16), mask=inside)
