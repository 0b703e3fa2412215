"""What `nvgemm tune` tells while it measures: a bar and a line for each product, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nvgemm.choice import tables


def told(products: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """`products`, of which there are `count`, each told when it comes.

    Raises
    ------
    ModuleNotFoundError
        ``rich`` is absent.
    """
    try:
        from rich.console import Console
        from rich.progress import track
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "rich is not installed, which shows the progress: pip install 'nvgemm[tools]'"
        ) from error
    console = Console(stderr=True, highlight=False)
    for product in track(products, "tuning", count, console=console, transient=True):
        console.print(_line(product), soft_wrap=True)
        yield product


def _line(product: dict[str, Any]) -> str:
    name, blocks = f"{product['m']}×{product['n']}×{product['k']}", tables.blocks_of(product)
    if "groups" in product:
        name = f"{product['grouping']} {product['groups']} of {name}"
    cluster = f"cluster {blocks.cluster_m}×{blocks.cluster_n}×{blocks.cluster_k}"
    times = [
        f"{product[field]:.2f} µs{when}" for field, when in (("us", ""), ("before_us", " before")) if field in product
    ]
    tiles = f"{blocks.block_m}×{blocks.block_n}, {blocks.num_consumers} consumers"
    policy = f", policy {product['policy']}" if "policy" in product else ""
    return f"{name:<20} {tiles}, {cluster}: {', '.join(times)}{policy}"
