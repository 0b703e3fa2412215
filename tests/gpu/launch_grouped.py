"""Run small grouped products in a process of their own: reads from standard input the name of one layout a line.

Prints a line ``start`` before each launch, and ``done`` after its result has been found right.
"""

from __future__ import annotations

import sys

import numpy as np
from grouped_products import arrange, check, grouped
from products import exact

COUNTS = (5, 0, 70, 130)
N, K = 136, 2064  # 17 k-blocks: the ring of stages is used over and over


def launch(layout: str) -> None:
    """One product in one of `grouped_products.LAYOUTS`; each CTA computes several tiles."""
    arrangement = arrange(layout, COUNTS)
    product = grouped(exact, np.random.default_rng(5), arrangement, len(COUNTS), N, K)
    check(product, arrangement, num_sms=2)
    if layout.startswith(("contiguous", "psum")):
        check(product, arrangement, num_sms=2, zero_padding=True)


def _main() -> None:
    print("", flush=True)
    for line in sys.stdin:
        print(f"start {line.strip()}", flush=True)
        launch(line.strip())
        print("done", flush=True)


if __name__ == "__main__":
    _main()
