"""Copies of ``kernels_cu`` with a mistake in them, or with random delays, which make rare orders of events common."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import candidates
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime.sources import kernels_dir

Change = tuple[str, str, str]  # file, what stands there once, what comes in its place


SHAPE = (200, 136, 2304)  # 18 k-blocks
PAIRS = "pairs of blocks, which belong to groups"
GROUPED = (2000, 520, 1168)  # N and K of `launch_grouped_configurations`
AHEAD = "128 rows, the next tile begun before one is stored"
FEW = "few k-blocks: "  # before a kind: as many as there are stages, so that the ring holds no consumer back
KINDS = {
    "64 rows": lambda c: (c.block_m, c.k_split, c.cluster_size, c.in_flight) == (64, 1, 1, 1),
    "128 rows": lambda c: (c.block_m, c.cluster_size, c.in_flight) == (128, 1, 1),
    "two under way": lambda c: (c.block_m, c.cluster_size, c.in_flight) == (64, 1, 2),
    "K split by 2": lambda c: (c.k_split, c.cluster_size) == (2, 1),
    "cluster along M": lambda c: c.cluster_m == 2,
    "cluster that divides K": lambda c: (c.block_m, c.k_split, c.cluster_k) == (64, 1, 2),
    PAIRS: lambda c: (c.block_m, c.k_split, c.cluster_m) == (64, 1, 2),
    AHEAD: lambda c: (c.block_m, c.cluster_size, c.in_flight) == (128, 1, 1),  # and then made to
}


class Mutant(NamedTuple):
    """A mistake, in a kernel of the kind `kind` (`KINDS`), where `slow` makes it certain to show."""

    kind: str
    mistake: Change
    slow: Change | None = None


_SLEEP = "for (uint32_t i = 0; i < 50; ++i) __nanosleep(1000);"
KERNEL, SUMS = "fp8_gemm.cu", "k_split.cuh"
MUTANTS = {
    "sums of the next tile written before these are read": Mutant(
        f"{FEW}K split by 2",
        (SUMS, "    ptx::bar_sync(1, NUM_CONSUMERS * 128);  // read before the next tile's sums come\n", ""),
        (SUMS, "    if (k_rank == 0) {\n", f"    if (k_rank == 0) {{\n        {_SLEEP}\n"),
    ),
    "sums of the next tile sent before these are read": Mutant(
        f"{FEW}cluster that divides K",
        (SUMS, "        ptx::mbarrier_try_wait(&shared.sums_empty[warp], phase ^ 1);  //", "        //"),
        (SUMS, "    ptx::mbarrier_try_wait(&shared.sums_full[warp], phase);\n",
         f"    ptx::mbarrier_try_wait(&shared.sums_full[warp], phase);\n    if (rank == 0) {_SLEEP}\n"),
    ),
    "a stage multiplied before it is full": Mutant(
        "64 rows", (KERNEL, "    if (!operands.full) pipeline.wait_full(shared);\n", "")
    ),
    "a stage multiplied before it is full, another still under way": Mutant(
        "two under way", ("in_flight.cuh", "            if (!operands.full) newest.wait_full(shared);\n", "")
    ),
    "a stage multiplied before it is full, tiles begun early": Mutant(
        AHEAD, ("next_tile.cuh", "        if (is_left && !next.full) pipeline.wait_full(shared);\n", "")
    ),
    "a tile begun where none is left": Mutant(
        AHEAD, ("next_tile.cuh", "if (is_left && !next.full)", "if (!next.full)")
    ),
    "a stage never handed back, two under way": Mutant(
        "two under way", ("in_flight.cuh", "        if (has_stage) pipeline.release(shared);\n", "")
    ),
    "a stage taken for full because the next one is": Mutant(
        "64 rows", ("pipeline.cuh", "return ptx::mbarrier_test_wait(&shared.full[stage], phase);", "return true;")
    ),
    "a stage filled before it is empty": Mutant(
        "64 rows", (KERNEL, "                    if (!has_b) pipeline.wait_empty(shared);\n", "")
    ),
    "barriers used before they are initialised": Mutant(
        "64 rows", ("pipeline.cuh", "        ptx::bar_sync(0, NUM_THREADS);\n", "        {}\n"),
        (KERNEL, "        init_barriers(shared);\n", f"        {_SLEEP}\n        init_barriers(shared);\n"),
    ),
    "k-blocks of each tile taken for those begun at once": Mutant(
        "64 rows", (KERNEL, "scheduler.round == 1 ? AT_ONCE : 0;", "AT_ONCE;")
    ),
    "scales written before the stage is empty": Mutant(
        "64 rows", (KERNEL, "        pipeline.wait_empty(shared);\n        __syncwarp();  // a lane",
                    "        __syncwarp();  // a lane"),
        (KERNEL, "    const Operands operands = next;\n", f"    const Operands operands = next;\n    {_SLEEP}\n"),
    ),
    "a stage never handed back": Mutant(
        "128 rows", (KERNEL, "if (last) pipeline.release(shared);  //", "if (false) pipeline.release(shared);  //")
    ),
    "a stage handed back before it is read": Mutant(
        "128 rows", (KERNEL, "    const Operands operands = next;\n",
                     "    const Operands operands = next;\n    pipeline.release(shared);\n"),
    ),
    "the peer's consumers not waited for": Mutant(
        "cluster along M", ("pipeline.cuh", "NUM_CONSUMER_WARPS / K_SPLIT * 32 * SHARERS;",
                            "NUM_CONSUMER_WARPS / K_SPLIT * 32;"),
    ),
    "fewer bytes announced than come": Mutant(
        "64 rows", (KERNEL, "ptx::mbarrier_arrive_expect_tx(&shared.full[stage], stage_bytes);",
                    "ptx::mbarrier_arrive_expect_tx(&shared.full[stage], stage_bytes - BLOCK_K);"),
    ),
    "sums of the other consumer added before they are there": Mutant(
        "K split by 2",
        (SUMS, "    ptx::bar_sync(1, NUM_CONSUMERS * 128);\n    if (k_rank == 0)", "    if (k_rank == 0)"),
        (SUMS, "    if (k_rank > 0) {\n", f"    if (k_rank > 0) {{\n        {_SLEEP}\n"),
    ),
    "B of one group taken for the other's": Mutant(
        PAIRS, (KERNEL, "else if (GROUPING == CONTIGUOUS && scheduler.peer_group != tile.group)", "else if (false)")
    ),
    "a block of nobody passed over, but not its peer": Mutant(
        PAIRS, ("scheduler.cuh", "if (tile.group < NUM_GROUPS) return;\n", "return;\n")
    ),
    "sums of the cluster added before they have come": Mutant(
        "cluster that divides K", (SUMS, "    ptx::mbarrier_try_wait(&shared.sums_full[warp], phase);\n", "")
    ),
}  # fmt: skip

_JITTER = """
// One time in eight, up to 4 µs, the same for all lanes of a warp that are here.
__device__ __forceinline__ void jitter() {
    uint32_t bits;
    asm volatile("mov.u32 %0, %%clock;" : "=r"(bits));
    bits = (bits ^ threadIdx.x / 32 * 2654435761u ^ blockIdx.x * 40503u) * 2246822519u;
    if (bits >> 29 == 0) __nanosleep(bits >> 16 & 4095);
}
"""


def of(kind: str) -> GemmConfig:
    """A short ring, so that stages are used again and again."""
    if kind == PAIRS:
        pairs = Problem(*GROUPED, True, Grouping.CONTIGUOUS, 4, 64, 2000)
        return next(filter(KINDS[kind], candidates(pairs)))._replace(num_stages=4)
    m, n, k = SHAPE if not kind.startswith(FEW) else (*SHAPE[:2], 512)
    is_kind = KINDS[kind.removeprefix(FEW)]
    config = next(config for config in candidates(Problem(m, n, k, True)) if is_kind(config))
    return config._replace(num_stages=4, multiplies_ahead=kind == AHEAD)


def with_changes(folder: Path, *changes: Change | None) -> Path:
    """A copy of the sources in `folder`, changed."""
    copy = shutil.copytree(kernels_dir(), folder / "kernels_cu")
    for file, old, new in filter(None, changes):
        text = (copy / file).read_text()
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times: the mutant must follow the kernel"
        (copy / file).write_text(text.replace(old, new))
    return copy


def with_jitter(folder: Path) -> Path:
    """A copy of the sources in `folder` that waits at random before each operation on an mbarrier."""
    copy = shutil.copytree(kernels_dir(), folder / "kernels_cu")
    path = copy / "ptx" / "mbarrier.cuh"
    begin = re.compile(r"^(__device__ __forceinline__ \w+ mbarrier_(?:arrive|test|try)\w*\([^)]*\) \{)$", re.MULTILINE)
    text, count = begin.subn(r"\1\n    jitter();", path.read_text())
    assert count == 5
    path.write_text(text.replace("namespace ptx {\n", "namespace ptx {\n" + _JITTER, 1))
    return copy
