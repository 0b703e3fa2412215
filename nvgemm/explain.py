"""What runs for a product, and what is expected of it."""

from __future__ import annotations

from nvgemm.choice.heuristic import H100_CLOCK, predict
from nvgemm.choice.problem import Problem, ceil_div, traffic_bytes
from nvgemm.runtime.dense_kernel import DenseKernel, model


def describe(problem: Problem, kernel: DenseKernel | None) -> str:
    """Configuration, tiles and waves, predicted time against the bytes, and the cubin, as lines of text."""
    p = problem
    lines = [f"D [{p.m}, {p.n}] = A [{p.m}, {p.k}] · B [{p.n}, {p.k}]ᵀ"]
    if kernel is None:
        return lines[0] + ": nothing to multiply"
    c, device, meta = kernel.config, kernel.device, kernel.cubin.meta
    grid, tiles = c.grid(p.m, device.num_sms), c.num_tiles(p.m)
    waves = ceil_div(tiles, grid)
    clocks = predict(c, p.m, model(device))
    bytes_moved = traffic_bytes(p.m, p.n, p.k)
    rows = {
        "block": f"{c.block_m}×{c.block_n}×128, {c.num_stages} stages, {c.shared_bytes} bytes of shared memory",
        "consumers": f"{c.num_consumers} warpgroups" + (", which split K" if c.k_split > 1 else ""),
        "cluster": f"{c.cluster_m}×{c.cluster_n}",
        "tiles": f"{tiles} on {grid} CTAs: {waves} waves, {tiles / grid / waves:.0%} full",
        "predicted": f"{clocks / H100_CLOCK * 1e6:.1f} µs",
        "memory": f"{bytes_moved / 1e6:.1f} MB, {bytes_moved / device.memory_bandwidth * 1e6:.1f} µs at the peak",
        "policy": f"{meta['policy']}, {meta['changed_words']} control words changed",
        "compiled": f"NVRTC {meta['compiler']}, {meta['registers']} registers, {meta['spilled_bytes']} bytes spilled",
        "cubin": str(kernel.cubin.path or "in memory only"),
    }
    return "\n".join([*lines, *(f"  {name:<10} {text}" for name, text in rows.items())])
