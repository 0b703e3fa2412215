"""What the host's tensor maps copy into a stage is what the kernel waits for: a difference would be a hang."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Grouping
from nvgemm.runtime import gemm_kernel
from nvgemm.runtime.array_view import ArrayView
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.sources import kernels_dir

N, K = 256, 512


def stage_bytes(config: GemmConfig, m: int) -> int:
    """As `Loader` has it; the next test reads it there."""
    rows_a = config.block_m // config.cluster_n
    copied_a, copied_sfa = min(m, rows_a), -(-min(m, config.block_m) // 4) * 4
    return (copied_a * config.cluster_n + config.block_n) * 128 + copied_sfa * 4


def test_the_kernel_has_this_formula():
    text = " ".join((kernels_dir() / "fp8_gemm.cu").read_text().split())
    assert re.search(r"constexpr uint32_t ROWS_A = BLOCK_M / CLUSTER_N,", text)
    assert "copied_a = min_of(scheduler.rows, ROWS_A)," in text
    assert "copied_sfa = ceil_div(min_of(scheduler.rows, BLOCK_M), 4) * 4;" in text
    assert "stage_bytes = (copied_a * CLUSTER_N + BLOCK_N) * BLOCK_K + copied_sfa * sizeof(float);" in text


@pytest.mark.parametrize("m", [1, 3, 20, 64, 65, 100, 128, 300])
@pytest.mark.parametrize("cluster", [(1, 1), (2, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("block_m", [64, 128, 256])
def test_boxes_add_up_to_it(monkeypatch, block_m, cluster, m):
    boxes = []
    monkeypatch.setattr(
        gemm_kernel.tensor_map, "matrix", lambda *map_: boxes.append(map_[-2]) or SimpleNamespace(address=0)
    )
    monkeypatch.setattr(gemm_kernel, "Arguments", lambda *values: values)
    config = GemmConfig(N, K, block_m, 128, 4, 2, 1, 1, *cluster, 1, 1, Grouping.DENSE)
    kernel = object.__new__(GemmKernel)
    kernel.config, kernel.device = config, SimpleNamespace(ordinal=0)

    def of(rows: int, columns: int, dtype: str, strides: tuple[int, int] | None = None) -> ArrayView:
        return ArrayView(1 << 20, (rows, columns), strides or (columns, 1), dtype)

    sfa = of(m, K // 128, "float32", (1, -(-m // 4) * 4))
    kernel._pack(of(m, K, "uint8"), sfa, of(N, K, "uint8"), of(N // 128, K // 128, "float32"), of(m, N, "bfloat16"))
    a, b, scales, _ = (rows * columns for rows, columns in boxes)
    copies_a, copies_b = config.cluster_n, config.cluster_m  # of what each CTA of a cluster brings, all receive
    assert a * copies_a + b * copies_b + scales * 4 == stage_bytes(config, m)
