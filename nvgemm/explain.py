"""What runs for a product, what is expected of it, and what else was weighed."""

from __future__ import annotations

from typing import Any

from nvgemm.choice import checks
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100_CLOCK, Model, predict
from nvgemm.choice.heuristic import candidates, select
from nvgemm.choice.problem import Problem, ceil_div, traffic_bytes, traffic_bytes_with_scales
from nvgemm.runtime.device_model import model, model_here
from nvgemm.runtime.gemm_kernel import GemmKernel

TENSOR_FLOP_PER_CLOCK = 8192  # of one SM's tensor cores, FP8
SHOWN = 8  # candidates of least predicted time
HEADINGS = ("block", "cluster", "consumers", "stages", "unroll", "flight", "tiles", "waves", "full", "µs")


def describe(problem: Problem, kernel: GemmKernel | None) -> str:
    """Configuration, tiles and waves, predicted time against the bytes, and the cubin, as lines of text."""
    title = _title(problem.m, problem.n, problem.k)
    if kernel is None:
        return f"{title}: nothing to multiply"
    c, device, meta = kernel.config, kernel.device, kernel.cubin.meta
    weighed = _weighed(c, problem, model(device))
    bytes_moved = traffic_bytes(problem.m, problem.n, problem.k)
    rows = {
        "block": f"{c.block_m}×{c.block_n}×128, {c.num_stages} stages, {c.shared_bytes} bytes of shared memory",
        "consumers": f"{c.num_consumers} warpgroups" + (", which split K" if c.k_split > 1 else ""),
        "order": f"{c.in_flight} under way, loop of {c.k_unroll} k-blocks"
        + (", the next tile begun before one is stored" if c.multiplies_ahead else ""),
        "launch": c.overlap.name.lower().replace("_", " "),
        "cluster": _cluster(c._asdict()),
        "tiles": "{tiles} on {ctas} CTAs: {waves} waves, {full:.0%} full".format(**weighed),
        "predicted": "{predicted_us:.1f} µs".format(**weighed),
        "memory": f"{bytes_moved / 1e6:.1f} MB, {bytes_moved / device.memory_bandwidth * 1e6:.1f} µs at the peak",
        "policy": f"{meta['policy']}, {meta['changed_words']} control words changed",
        "compiled": f"NVRTC {meta['compiler']}, {meta['registers']} registers, {meta['spilled_bytes']} bytes spilled",
        "cubin": str(kernel.cubin.path or "in memory only"),
    }
    return "\n".join([title, *(f"  {name:<10} {text}" for name, text in rows.items())])


def weigh(m: int, n: int, k: int, num_sms: int | None = None) -> dict[str, Any]:
    """What the choice for a dense product weighs, as plain data; times in µs.

    For the first GPU here, or for an H100 where that is no Hopper GPU. Needs no GPU.

    Parameters
    ----------
    m, n, k : int
        Shape of the product; N a multiple of 8, K of 16, none of them 0.
    num_sms : int, optional
        SMs that the product will be given. Default: all.

    Raises
    ------
    ValueError, TypeError
        A size or `num_sms` is not one of these.
    """
    checks.sizes(m, n, k)
    name, device = model_here(num_sms)
    problem = Problem(m, n, k, True)
    chosen, measured = select(problem, device)
    ranked = sorted({chosen, *candidates(problem, device)}, key=lambda config: predict(config, problem, device))
    return {
        "product": {"m": m, "n": n, "k": k},
        "device": {"name": name, "num_sms": device.num_sms},
        "floor": _floor(m, n, k, device),
        "chosen": {**_weighed(chosen, problem, device), "measured": measured and measured.m},
        "candidates": [_weighed(config, problem, device) for config in ranked[:SHOWN]],
        "num_candidates": len(ranked),
    }


def as_text(facts: dict[str, Any]) -> str:
    """The facts of `weigh` as lines and a table; ``*`` marks the choice."""
    floor, chosen = facts["floor"], facts["chosen"]
    m = chosen["measured"]
    why = "least predicted time" if m is None else f"measured as the fastest at M = {m}"
    lines = [
        f"{_title(**facts['product'])} on {facts['device']['name']}",
        f"  floor   {floor['tensor_us']:.1f} µs of the tensor cores at their full rate, "
        f"{floor['memory_us']:.1f} µs of the memory ({floor['bytes'] / 1e6:.1f} MB)",
        f"  chosen  {_blocks(chosen)}: {why}, predicted {chosen['predicted_us']:.1f} µs",
        f"  the {len(facts['candidates'])} of least predicted time, of {facts['num_candidates']}:",
        _columns(" ", *HEADINGS),
    ]
    own = {name: value for name, value in chosen.items() if name != "measured"}
    rows = facts["candidates"] if own in facts["candidates"] else [*facts["candidates"], own]
    return "\n".join([*lines, *(_row(row, row == own) for row in rows)])


def _title(m: int, n: int, k: int) -> str:
    return f"D [{m}, {n}] = A [{m}, {k}] · B [{n}, {k}]ᵀ"


def _floor(m: int, n: int, k: int, device: Model) -> dict[str, float]:
    """µs of the tensor cores at their full rate, and of the least bytes at the memory's peak."""
    moved = traffic_bytes_with_scales(m, n, k)
    clocks = {
        "tensor_us": 2 * m * n * k / (TENSOR_FLOP_PER_CLOCK * device.num_sms),
        "memory_us": moved / device.dram_bytes_per_clock,
    }
    return {**{name: count / H100_CLOCK * 1e6 for name, count in clocks.items()}, "bytes": moved}


def _weighed(config: GemmConfig, problem: Problem, device: Model) -> dict[str, Any]:
    grid, tiles = config.grid(problem.m, device.num_sms), config.num_tiles(problem.m)
    parts = tiles * config.cluster_k
    waves = ceil_div(parts, grid)
    measures = {"tiles": tiles, "ctas": grid, "waves": waves, "full": parts / grid / waves}
    return {**config._asdict(), **measures, "predicted_us": predict(config, problem, device) / H100_CLOCK * 1e6}


def _blocks(row: dict[str, Any]) -> str:
    split = ", which split K" if row["k_split"] > 1 else ""
    consumers = "1 consumer" if row["num_consumers"] == 1 else f"{row['num_consumers']} consumers"
    return f"{row['block_m']}×{row['block_n']}, {row['num_stages']} stages, {consumers}{split}"


def _cluster(row: dict[str, Any]) -> str:
    """CTAs along M and N that share operands, or that divide K."""
    return f"K/{row['cluster_k']}" if row["cluster_k"] > 1 else f"{row['cluster_m']}×{row['cluster_n']}"


def _row(row: dict[str, Any], is_chosen: bool) -> str:
    block, cluster = f"{row['block_m']}×{row['block_n']}", _cluster(row)
    consumers = f"{row['num_consumers']}" + (" split K" if row["k_split"] > 1 else "")
    counts = [str(row[name]) for name in ("num_stages", "k_unroll", "in_flight", "tiles", "waves")]
    shares = f"{row['full']:.0%}", f"{row['predicted_us']:.1f}"
    return _columns("*" if is_chosen else " ", block, cluster, consumers, *counts, *shares)


def _columns(mark: str, block: str, cluster: str, consumers: str, *numbers: str) -> str:
    return f"  {mark} {block:<9}{cluster:<9}{consumers:<10}" + "".join(f"{number:>8}" for number in numbers)
