"""Numbers that only the device sees: wrong ones cost their own group its rows and nothing else; new ones are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from grouped_products import (
    Arrangement,
    GuardedRows,
    arrange,
    check,
    contiguous,
    grouped,
    masked,
    offsets,
    psum,
)
from products import exact, same_bits, write
from test_concurrency import captured, new_stream, replay

from nvgemm.runtime import driver

pytestmark = pytest.mark.gpu

N, K = 200, 272
LEAST, MOST = -(2**31), 2**31 - 1


def blocks(*groups: int, alignment: int = 64) -> Arrangement:
    """Contiguous blocks, each of one index, over 4 groups."""
    return contiguous(np.repeat(groups, alignment), 4, alignment)


# Groups, and what they are told. No row is in two groups: which of them would win is not said.
BAD = {
    "negative indices": (4, blocks(1, -2, 0, LEAST, 3)),
    "indices of groups that there are not": (4, blocks(4, 1, 5, MOST, 2, 4)),
    "wrong indices within blocks": (4, contiguous([1, *[MOST, LEAST, 4, -9] * 15, 1, 1, 1, *[3] * 5], 4, 64)),
    "ends below 0": (6, psum([-7, 40, 64, LEAST, 128, 130], 130, 32)),
    "ends before the start": (6, psum([40, 20, 30, 80, 10, 20], 130, 64)),
    "ends beyond M": (6, psum([50, 131, 100, 128, MOST, 130], 130, 64)),
    "ends that wrap around when aligned": (6, psum([50, MOST, 100, 128, MOST - 63, 130], 130, 64)),
    "offsets that decrease": (6, offsets([40, 100, 30, 35, 500, 101, 120], 130)),
    "offsets beyond M": (5, offsets([0, 20, 131, 40, 90, MOST], 130)),
    "offsets below 0": (5, offsets([LEAST, 20, 60, -1, 60, 130], 130)),
    "offsets whose difference wraps around": (5, offsets([-64, 64, LEAST, MOST, 70, 100], 130)),
    "counts below 0 and above Mmax": (7, masked([70, -1, 71, LEAST, MOST, 1, 0], 70)),
    "counts above a small Mmax": (5, masked([3, 7, 8, 64, 5], 7)),
}
CONTIGUOUS = [name for name in BAD if "indices" in name or name.startswith("ends")]


@pytest.mark.parametrize("name", BAD)
def test_bad_values(name, rng):
    groups, arrangement = BAD[name]
    check(grouped(exact, rng, arrangement, groups, N, K), arrangement)


@pytest.mark.parametrize("name", CONTIGUOUS)
def test_bad_values_with_zero_padding(name, rng):
    groups, arrangement = BAD[name]
    check(grouped(exact, rng, arrangement, groups, N, K), arrangement, zero_padding=True)


@pytest.fixture
def stream() -> Iterator[int]:
    made = new_stream()
    yield made
    with driver.context(0):
        driver.check(driver.cuda().cuStreamDestroy(made))


REPLAYED = {
    "contiguous": [arrange("contiguous-64", [70, 0, 64, 3]), blocks(3, 3, -1, 0), blocks(-1, -1, 4, 2)],
    "psum": [psum(ends, 260, 64) for ends in ([70, 128, 200, 260], [0, 0, 0, 260], [64, 64, 64, 64])],
    "offsets": [offsets(each, 260) for each in ([0, 70, 70, 134, 137], [0, 0, 0, 0, 260], [9, 9, 9, 9, 9])],
    "masked": [masked(counts, 70, expected_m=20) for counts in ([70, 0, 64, 3], [1, 70, 70, 70], [0, 0, 0, 0])],
}


@pytest.mark.parametrize("name", REPLAYED)
def test_a_graph_reads_new_values_in_each_replay(name, stream, rng):
    first, *others = REPLAYED[name]
    product = grouped(exact, rng, first, 4, N, K)
    product.a[:], product.sfa[:] = np.where(product.a == 0x7F, 0x38, product.a), np.nan_to_num(product.sfa, nan=2.0)
    a, b, indices = product.left(), product.right(), product.put(first.indices)
    d = GuardedRows(first.rows.shape, N)
    first.call(a, b, d.view, indices, stream=stream)
    with captured(stream) as graphs:
        first.call(a, b, d.view, indices, stream=stream)
    for each in (first, *others, first):
        write(indices, each.indices)
        d.refill()
        replay(graphs[0], stream)
        same_bits(d.bits(stream), product.expected(each.rows))


def test_a_capture_by_cupy(rng):
    cupy = pytest.importorskip("cupy")
    first, *others = REPLAYED["offsets"]
    product = grouped(exact, rng, first, 4, N, K)
    product.a[:], product.sfa[:] = np.where(product.a == 0x7F, 0x38, product.a), np.nan_to_num(product.sfa, nan=2.0)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        a, padded, b, sfb = (cupy.asarray(x) for x in (product.a, product.padded_scales(), product.b, product.sfb))
        operands = (a, padded.T[: len(a)]), (b, sfb)
        indices, d = cupy.asarray(first.indices), cupy.zeros((len(a), N), cupy.uint16)
        first.call(*operands, d, indices)
        stream.synchronize()
        stream.begin_capture()
        with pytest.raises(RuntimeError, match=r"capturing a graph.*pass it as d="):
            first.call(*operands, None, indices)
        first.call(*operands, d, indices)
        graph = stream.end_capture()
        for each in others:
            indices.set(each.indices)
            d.fill(0)
            graph.launch(stream)
            stream.synchronize()
            same_bits(cupy.asnumpy(d), product.expected(each.rows, nobody=0))
