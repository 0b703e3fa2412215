"""`select_config`: the configuration that a model of waves, bytes and latency finds fastest. Pure integers, no GPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nvgemm.choice.config import BLOCK_K, MAX_SHARED_BYTES, GemmConfig
from nvgemm.choice.problem import Problem, align, ceil_div

MAX_STAGES = 12
BLOCKS_N = (*range(8, 65, 8), *range(80, 257, 16))
ACCUMULATOR_REGISTERS = {
    1: 216,
    2: 200,
    4: 64,
}  # of the 248 or 232 of a consumer thread; the rest are addresses and scales


@dataclass(frozen=True, slots=True)
class Model:
    """What the choice needs to know of a device. Rates are per clock of one SM, measured on an H100 SXM."""

    num_sms: int = 132
    l2_bytes_per_clock: float = 48.0  # from the L2 into one SM while all of them read
    dram_bytes_per_clock: float = 1650.0  # of the whole device: 3.1 TB/s at 1.9 GHz


H100 = Model()


@lru_cache(maxsize=65536)
def select_config(problem: Problem, device: Model = H100) -> GemmConfig:
    """The configuration for `problem` on `device` with the least predicted time; ties go to the first."""
    return min(candidates(problem, device), key=lambda config: predict(config, problem.m, device))


def candidates(problem: Problem, device: Model = H100) -> Iterator[GemmConfig]:
    """Every legal configuration that could be the fastest."""
    for block_m, num_consumers, k_split in ((64, 1, 1), (64, 2, 2), (64, 4, 4), (128, 2, 1), (256, 2, 1)):
        if block_m > 64 and problem.m <= block_m // 2:
            continue
        for block_n in BLOCKS_N:
            if block_n >= problem.n + 8 or not _registers_allow(block_m, block_n, num_consumers, k_split):
                continue
            for cluster_m, cluster_n in ((1, 1), (2, 1), (1, 2)):
                config = _complete(problem, device, block_m, block_n, num_consumers, k_split, cluster_m, cluster_n)
                if config is not None:
                    yield config


def _registers_allow(block_m: int, block_n: int, num_consumers: int, k_split: int) -> bool:
    slices = block_m * k_split // (64 * num_consumers)
    return (slices + 1) * block_n // 2 <= ACCUMULATOR_REGISTERS[num_consumers]


def _complete(
    problem: Problem,
    device: Model,
    block_m: int,
    block_n: int,
    num_consumers: int,
    k_split: int,
    cluster_m: int,
    cluster_n: int,
) -> GemmConfig | None:
    """Strips, stages and raster for these blocks; None where the cluster or shared memory does not allow them."""
    if cluster_m == 2 and (block_n % 16 or problem.m <= block_m):
        return None
    if cluster_n == 2 and problem.n <= block_n:
        return None
    strips = min(2, ceil_div(block_n, 64))
    k_blocks = ceil_div(problem.k, BLOCK_K)
    most = align(min(MAX_STAGES, max(k_blocks, 2)), k_split)
    for stages in range(most, 1, -k_split):
        config = GemmConfig(
            shape_n=problem.n,
            shape_k=problem.k,
            block_m=block_m,
            block_n=block_n,
            num_stages=stages,
            num_consumers=num_consumers,
            k_split=k_split,
            num_d_strips=strips,
            cluster_m=cluster_m,
            cluster_n=cluster_n,
            raster_m=_raster(problem, device, block_m * cluster_m, block_n * cluster_n),
            k_unroll=4 if 128 % block_n == 0 else 1,
        )
        if config.shared_bytes <= MAX_SHARED_BYTES:
            return config
    return None


def _raster(problem: Problem, device: Model, height: int, width: int) -> int:
    """Tiles down before one to the right, so that the rows of A and B that a wave reads are fewest. A power of two."""
    wave = max(device.num_sms * 128 * 128 // (height * width), 1)
    down, right = ceil_div(problem.m, height), ceil_div(problem.n, width)

    def footprint(raster: int) -> int:
        raster = min(raster, down)
        return raster * height + min(ceil_div(wave, raster), right) * width

    return min((1, 2, 4, 8, 16, 32), key=footprint)


def predict(config: GemmConfig, m: int, device: Model = H100) -> float:
    """Predicted clocks of one launch: the slowest of the device's resources over full waves, and one tile's latency."""
    k_blocks = ceil_div(config.shape_k, BLOCK_K)
    waves = ceil_div(config.num_tiles(m), config.grid(m, device.num_sms))
    tile = k_blocks * _k_block_clocks(config, device) + _epilogue_clocks(config)
    dram = (m * config.shape_k + config.shape_n * config.shape_k + 2 * m * config.shape_n) / device.dram_bytes_per_clock
    return max(waves * tile, dram) + 2500


def _k_block_clocks(config: GemmConfig, device: Model) -> float:
    """Clocks that one CTA takes for 128 of K: tensor core, shared memory, L2, or a consumer's own dependent chain."""
    block_m, block_n = config.block_m, config.block_n
    slices = block_m // 64
    tensor = slices * 2 * max(block_n, 16)
    shared = 2 * block_m + block_n + block_m * block_n / 64
    l2 = (block_m / config.cluster_n + block_n / config.cluster_m) * BLOCK_K / device.l2_bytes_per_clock
    chain = slices / config.num_consumers * (2 * max(block_n, 16) + block_n / 2 + 110)
    return max(tensor, shared, l2, chain)


def _epilogue_clocks(config: GemmConfig) -> float:
    """Clocks in which a tile's results are converted and stored, and the tensor cores wait."""
    return 800 + config.block_m * config.block_n / 40
