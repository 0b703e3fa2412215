"""Run grouped products in given configurations in a process of their own, which a watchdog can end.

Reads from standard input one JSON object a line: ``layout`` (one of `ARRANGEMENTS`) and ``config`` (the fields of
GemmConfig). Prints a line ``start`` before each launch, and ``done`` after its result has been found right.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache

import numpy as np
from grouped_products import Arrangement, GroupedProduct, GuardedRows, contiguous, grouped, masked, offsets, psum
from grouped_products import problem as problem_of
from launch_configurations import begin, configuration
from products import exact, same_bits

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import Problem
from nvgemm.runtime import driver
from nvgemm.runtime.arrays import view
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.making import making

N, K, GROUPS = 520, 1168, 4  # two tiles of the widest side by side, 10 k-blocks
FEW_SMS = 6  # each CTA computes several tiles
BLOCKS = (-1, 0, 0, 0, 1, 2, -1, -1, 2, -1, 3)  # groups of blocks: pairs of one, of two, of one and none, and of none


def blocks(alignment: int) -> Arrangement:
    """The last of them cut short."""
    return contiguous(np.repeat(BLOCKS, alignment)[: 10 * alignment + alignment // 3], GROUPS, alignment)


ARRANGEMENTS = {
    **{f"contiguous-{alignment}": blocks(alignment) for alignment in (32, 64, 128)},
    "masked": masked([5, 0, 70, 300], 310),
    "offsets": offsets(np.cumsum([0, 5, 0, 70, 300]), 375),
    "psum": psum([5, 64, 134, 492], 500, 64),  # the same groups
}


def job(layout: str, config: GemmConfig) -> str:
    """One line of input."""
    return json.dumps({"layout": layout, "config": config._asdict()})


def problem(layout: str, expected_m: int) -> Problem:
    """What is asked of kernels that are chosen for groups of so many rows."""
    return problem_of(ARRANGEMENTS[layout], GROUPS, N, K)._replace(expected_m=expected_m)


@lru_cache(maxsize=len(ARRANGEMENTS))
def _product(layout: str) -> tuple[Arrangement, GroupedProduct, np.ndarray]:
    arrangement = ARRANGEMENTS[layout]
    product = grouped(exact, np.random.default_rng(7), arrangement, GROUPS, N, K)
    return arrangement, product, product.expected(arrangement.rows)


def _run(layout: str, config: GemmConfig) -> None:
    kernel = GemmKernel(config, making("tuned", config), driver.require_hopper(0)._replace(num_sms=FEW_SMS))
    arrangement, product, expected = _product(layout)
    d = GuardedRows(arrangement.rows.shape, N)
    operands = (*product.left(), *product.right(), d.view, product.put(arrangement.indices))
    kernel.bind(*(view(x, "operand") for x in operands))(0)
    same_bits(d.bits(), expected)


def _main() -> None:
    begin()
    for line in sys.stdin:
        fields = json.loads(line)
        config = configuration(fields["config"])
        print(f"start {fields['layout']} {config}", flush=True)
        _run(fields["layout"], config)
        print("done", flush=True)


if __name__ == "__main__":
    _main()
