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


def ends_in_tile(config: GemmConfig) -> bool:
    """As `Loader` has it, like what follows; a test below reads it there."""
    return config.box_m < config.block_m // config.cluster_n


def announced_boxes(config: GemmConfig, valid_rows: int) -> int:
    return -(-valid_rows // config.box_m) if ends_in_tile(config) else config.cluster_n


def copied_boxes(config: GemmConfig, valid_rows: int, rank_n: int) -> int:
    """Those that CTA `rank_n` of a cluster along N copies, to all of it."""
    rows = config.block_m // config.cluster_n
    firsts = range(rank_n * rows, (rank_n + 1) * rows, config.box_m)
    return sum(not ends_in_tile(config) or first < valid_rows for first in firsts)


def stage_bytes(config: GemmConfig, m: int, valid_rows: int) -> int:
    copied_a, copied_sfa = (
        announced_boxes(config, valid_rows) * min(m, config.box_m),
        -(-min(m, config.block_m) // 4) * 4,
    )
    return (copied_a + config.block_n) * 128 + copied_sfa * 4


def test_the_kernel_has_these_formulas():
    text = " ".join((kernels_dir() / "fp8_gemm.cu").read_text().split())
    assert re.search(r"constexpr uint32_t ROWS_A = BLOCK_M / CLUSTER_N,", text)
    assert "ENDS_IN_TILE = BOX_M < ROWS_A;" in text
    assert "boxes = ENDS_IN_TILE ? ceil_div(tile.valid_rows, BOX_M) : CLUSTER_N;" in text
    assert "copied_a = boxes * min_of(scheduler.rows, BOX_M);" in text
    assert "copied_sfa = ceil_div(min_of(scheduler.rows, BLOCK_M), 4) * 4;" in text
    assert "stage_bytes = (copied_a + BLOCK_N) * BLOCK_K + copied_sfa * sizeof(float);" in text
    assert "first = scheduler.rank_n * ROWS_A; first < (scheduler.rank_n + 1) * ROWS_A; first += BOX_M" in text
    assert "if (ENDS_IN_TILE && first >= tile.valid_rows) break;" in text


@pytest.mark.parametrize("grouping", Grouping)
@pytest.mark.parametrize("cluster", [(1, 1), (2, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("block_m", [64, 128, 256])
def test_each_cta_of_a_cluster_waits_for_what_all_copy(block_m, cluster, grouping):
    """Also where one of them has no columns: `Scheduler` then says that it has no rows."""
    config = GemmConfig(N, K, block_m, 128, 4, 2, 1, 1, *cluster, 1, 1, grouping)
    for rows in (1, block_m // 2, block_m // 2 + 1, block_m):
        for rows_of_peer in (rows, 0):
            valid_rows = (rows, rows_of_peer)[: config.cluster_n]
            copied = sum(copied_boxes(config, each, rank) for rank, each in enumerate(valid_rows))
            assert [announced_boxes(config, each) for each in valid_rows] == [copied] * config.cluster_n


@pytest.mark.parametrize("m", [1, 3, 20, 64, 65, 100, 128, 300])
@pytest.mark.parametrize("grouping", [Grouping.DENSE, Grouping.MASKED, Grouping.OFFSETS])
@pytest.mark.parametrize("cluster", [(1, 1), (2, 1), (1, 2)], ids=str)
@pytest.mark.parametrize("block_m", [64, 128, 256])
def test_boxes_add_up_to_it(monkeypatch, block_m, cluster, grouping, m):
    boxes = []
    monkeypatch.setattr(
        gemm_kernel.tensor_map, "matrix", lambda *map_: boxes.append(map_[-2]) or SimpleNamespace(address=0)
    )
    monkeypatch.setattr(gemm_kernel, "Arguments", lambda *values: values)
    monkeypatch.setattr(gemm_kernel.draws, "counter", lambda ordinal: None)
    config = GemmConfig(N, K, block_m, 128, 4, 2, 1, 1, *cluster, 1, 1, grouping)
    kernel = object.__new__(GemmKernel)
    kernel.config, kernel.device = config, SimpleNamespace(ordinal=0)

    def of(rows: int, columns: int, dtype: str, strides: tuple[int, int] | None = None) -> ArrayView:
        return ArrayView(1 << 20, (rows, columns), strides or (columns, 1), dtype)

    sfa = of(m, K // 128, "float32", (1, -(-m // 4) * 4))
    kernel._pack(of(m, K, "uint8"), sfa, of(N, K, "uint8"), of(N // 128, K // 128, "float32"), of(m, N, "bfloat16"))
    a, b, scales, _ = (rows * columns for rows, columns in boxes)
    for valid_rows in {min(m, block_m), min(m, block_m // 2), 1, 0} if grouping.on_device else {min(m, block_m)}:
        # What each CTA of a cluster brings, all receive.
        copies_a = sum(copied_boxes(config, valid_rows, rank) for rank in range(config.cluster_n))
        assert a * copies_a + b * config.cluster_m + scales * 4 == stage_bytes(config, m, valid_rows)
