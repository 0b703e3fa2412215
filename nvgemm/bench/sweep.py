"""Candidate configurations of a product beside the one that is picked: what model and table are fitted to."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import nvgemm
from nvgemm import settings
from nvgemm.bench import libraries
from nvgemm.bench.cold import Flush, Times, measure
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import H100_CLOCK, candidates, predict, select_config
from nvgemm.choice.problem import Problem
from nvgemm.runtime import driver
from nvgemm.runtime.arrays import view
from nvgemm.runtime.gemm_kernel import GemmKernel, build_config, model


def run(m: int, n: int, k: int, count: int = 24) -> None:
    """Print the cold times of the `count` candidates with the least predicted time, fastest first; needs torch."""
    torch = libraries.torch()
    device, problem = driver.require_hopper(0), Problem(m, n, k, True)
    configs = sorted(candidates(problem, model(device)), key=lambda config: predict(config, problem, model(device)))[
        :count
    ]
    picked = select_config(problem, model(device))
    if picked not in configs:
        configs.append(picked)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda config: build_config(config, settings.sass), configs))
    times = measure(torch, Flush(torch), {str(i): run for i, run in enumerate(_runs(torch, configs, m, n, k))})
    for i, of in sorted(times.items(), key=lambda item: item[1].us):
        print(_line(configs[int(i)], of, predict(configs[int(i)], problem, model(device)), configs[int(i)] == picked))


def _runs(torch: Any, configs: list[GemmConfig], m: int, n: int, k: int) -> list[Callable[[], None]]:
    a = nvgemm.per_token_cast_to_fp8(torch.randn(m, k, device="cuda"))
    b = nvgemm.per_block_cast_to_fp8(torch.randn(n, k, device="cuda"))
    d = torch.empty(m, n, dtype=torch.bfloat16, device="cuda")
    operands = [view(x, "operand") for x in (*a, *b, d)]
    stream = torch.cuda.current_stream().cuda_stream

    def launcher(config: GemmConfig) -> Callable[[], None]:
        kernel = GemmKernel(config, settings.sass, driver.device(0))
        launch = kernel.bind(*operands)
        return lambda keep=(a, b, d): launch(stream)  # type: ignore[misc]

    return [launcher(config) for config in configs]


def _line(c: GemmConfig, times: Times, clocks: float, picked: bool) -> str:
    blocks = f"{c.block_m}×{c.block_n}, {c.num_stages} stages, {c.num_consumers} consumers, K split {c.k_split}"
    predicted = f"predicted {clocks / H100_CLOCK * 1e6:.2f}"
    mark = "  <- picked" if picked else ""
    return f"{times.us:>9.2f} µs  {blocks}, cluster {c.cluster_m}×{c.cluster_n}×{c.cluster_k}, {predicted}{mark}"
