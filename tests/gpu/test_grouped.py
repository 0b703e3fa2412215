"""Grouped products are right in every layout: bit for bit where sums are exact, and no row of nobody is touched."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from grouped_products import (
    LAYOUTS,
    Arrangement,
    GroupedProduct,
    GuardedRows,
    arrange,
    batched,
    build,
    check,
    contiguous,
    grouped,
    masked,
    offsets,
    psum,
)
from products import POISON, exact, normal, same_bits

import nvgemm
from nvgemm import Array, reference, testing

pytestmark = pytest.mark.gpu

NARROW, WIDE = (200, 272), (2112, 400)  # N and K, not multiples of 128
RAGGED = (0, 1, 7, 63, 64, 65, 0, 127, 128, 129, 300, 5, 0)
EMPTY = {
    "contiguous": contiguous(np.full(200, -1), 3, 64),
    "psum": psum([0, 0, 0], 200, 64),
    "offsets": offsets([100, 100, 100, 100], 200),
    "masked": masked([0, 0, 0], 50),
}


FEW = {  # rows in all, and groups of them: fewer than the 64 of a tile, and some begin at no multiple of 4
    "contiguous": (contiguous([0] * 32 + [1] * 13, 2, 32), 2),
    "psum": (psum([5, 40], 45, 32), 2),
    "offsets": (offsets([0, 5, 20, 33], 33), 3),
}


NORMAL = (70, 0, 129, 3, 40)
NUMBERS = (1, 3, 33, 300)
BY_NUMBER = ("contiguous-32", "psum-64", "offsets", "masked")


def of_number(layout: str, groups: int) -> Arrangement:
    return arrange(layout, [(17 + 7 * group) % 40 for group in range(groups)])


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    build([(arrange(layout, RAGGED), len(RAGGED), *NARROW) for layout in LAYOUTS])
    build([(arrange(layout, NORMAL), len(NORMAL), *WIDE) for layout in LAYOUTS])
    build([(of_number(layout, groups), groups, *NARROW) for layout in BY_NUMBER for groups in NUMBERS])
    build([(of(5, 20), 5, *NARROW) for of in (batched, lambda groups, rows: masked([rows] * groups, rows))])


def exact_for(rng: np.random.Generator, arrangement: Arrangement, groups: int, shape=NARROW) -> GroupedProduct:
    return grouped(exact, rng, arrangement, groups, *shape)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_ragged_groups(layout, rng):
    arrangement = arrange(layout, RAGGED)
    check(exact_for(rng, arrangement, len(RAGGED)), arrangement)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_normal_data(layout, rng):
    arrangement = arrange(layout, NORMAL)
    product, d = grouped(normal, rng, arrangement, 5, *WIDE), GuardedRows(arrangement.rows.shape, WIDE[0])
    arrangement.call(product.left(), product.right(), d.view, product.put(arrangement.indices))
    valid = arrangement.rows.ravel() >= 0
    got, host = d.bits(), (product.a, product.sfa, product.b, product.sfb, arrangement.rows)
    assert (got[~valid] == POISON).all()
    ref, sums = (x(*host).reshape(got.shape) for x in (reference.grouped_gemm, reference.absolute_grouped_gemm))
    testing.assert_close(reference.decode_bf16(got[valid]), ref[valid], sums[valid], blocks=product.sfa.shape[-1])


@pytest.mark.parametrize("groups", NUMBERS)
@pytest.mark.parametrize("layout", BY_NUMBER)
def test_numbers_of_groups(layout, groups, rng):
    arrangement = of_number(layout, groups)
    check(exact_for(rng, arrangement, groups), arrangement)


@pytest.mark.parametrize("name", EMPTY)
def test_all_groups_are_empty(name, rng):
    check(exact_for(rng, EMPTY[name], 3), EMPTY[name])


@pytest.mark.parametrize("name", FEW)
def test_fewer_rows_in_all_than_a_tile_has(name, rng):
    arrangement, groups = FEW[name]
    check(exact_for(rng, arrangement, groups), arrangement)


@pytest.mark.parametrize("layout", ["contiguous-64", "contiguous-128", "psum-128", "offsets", "masked"])
def test_one_giant_group(layout, rng):
    arrangement = arrange(layout, [0, 2500, 1, 0])
    check(exact_for(rng, arrangement, 4), arrangement)


@pytest.mark.parametrize("layout", ["contiguous-128", "offsets"])
def test_no_rows_at_all(layout, rng):
    arrangement = arrange(layout, [0, 0, 0])
    assert arrangement.rows.shape == (0,)
    check(exact_for(rng, arrangement, 3), arrangement)


@pytest.mark.parametrize("alignment", [32, 64, 128])
def test_blocks_with_rows_of_others(alignment, rng):
    """Runs of −1 at any place, blocks that begin with −1, indices of other groups, and a last block cut short."""
    groups, m = 4, 10 * 128 + 45
    indices = np.resize(rng.permutation(groups), -(-m // alignment)).repeat(alignment)[:m]
    indices[rng.random(m) < 0.3] = -1
    indices[rng.random(m) < 0.1] = 2
    indices[:alignment], indices[3 * alignment] = -1, -1
    indices[4 * alignment] = 1
    arrangement = contiguous(indices, groups, alignment)
    check(exact_for(rng, arrangement, groups), arrangement)


@pytest.fixture
def alignment_of_64() -> Iterator[None]:
    before = nvgemm.get_mk_alignment_for_contiguous_layout()
    nvgemm.set_mk_alignment_for_contiguous_layout(64)
    yield
    nvgemm.set_mk_alignment_for_contiguous_layout(before)


@pytest.mark.parametrize("layout", ["contiguous-64", "psum-64"])
def test_the_alignment_set_for_all_calls(layout, rng, alignment_of_64):
    """Groups are 64 apart, so that with another alignment rows would go to another group."""
    arrangement = arrange(layout, [20, 40, 64, 1])
    check(exact_for(rng, arrangement, 4), arrangement, alignment=None)


@pytest.mark.parametrize("layout", ["contiguous-32", "contiguous-64", "contiguous-128", "psum-32", "psum-128"])
@pytest.mark.parametrize("tail", [0, 77])
def test_zero_padding(layout, tail, rng):
    """Zeros in exactly the rows of nobody, also after the last group."""
    arrangement = with_tail(arrange(layout, RAGGED), layout, tail)
    check(exact_for(rng, arrangement, len(RAGGED)), arrangement, zero_padding=True)


def with_tail(arrangement: Arrangement, layout: str, tail: int) -> Arrangement:
    name, _, alignment = layout.partition("-")
    if name == "psum":
        return psum(arrangement.indices, len(arrangement.rows) + tail, int(alignment))
    indices = np.concatenate([arrangement.indices, np.full(tail, -1, np.int32)])
    return contiguous(indices, len(RAGGED), int(alignment))


@pytest.mark.parametrize("name", ["contiguous", "psum"])
def test_zero_padding_of_empty_groups(name, rng):
    check(exact_for(rng, EMPTY[name], 3), EMPTY[name], zero_padding=True)


@pytest.mark.parametrize("max_m", [1, 7, 20, 64])
@pytest.mark.parametrize("name", ["masked", "batched"])
def test_few_rows_to_a_group(name, max_m, rng):
    """A block is longer than the group: what it stores must not reach the next one."""
    counts = [max_m, 0, max_m // 2, max_m, 1]
    arrangement = masked(counts, max_m) if name == "masked" else batched(5, max_m)
    check(exact_for(rng, arrangement, 5), arrangement)


@pytest.mark.parametrize("expected_m", [1, 64, 10_000])
def test_the_expected_number_changes_no_bit(expected_m, rng):
    """Small integers: sums are exact, whichever kernel is chosen."""
    arrangement = masked([3, 190, 0, 64], 200, expected_m)
    check(exact_for(rng, arrangement, 4), arrangement)
    for layout in ("offsets", "contiguous-64", "psum-64"):
        arrangement = arrange(layout, [3, 190, 0, 64])
        check(exact_for(rng, arrangement, 4), arrangement, expected_m=expected_m)


@pytest.mark.parametrize("num_sms", [1, 131])
@pytest.mark.parametrize("layout", ["contiguous-128", "offsets", "masked", "batched"])
def test_some_of_the_sms(layout, num_sms, rng):
    arrangement = arrange(layout, NORMAL)
    check(exact_for(rng, arrangement, 5, WIDE), arrangement, num_sms=num_sms)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_bits_again(layout, rng):
    arrangement = arrange(layout, NORMAL)
    product = grouped(normal, rng, arrangement, 5, *WIDE)
    a, b, indices = product.left(), product.right(), product.put(arrangement.indices)
    d = GuardedRows(arrangement.rows.shape, WIDE[0])
    arrangement.call(a, b, d.view, indices)
    first = d.bits()
    for _ in range(10):
        d.refill()
        arrangement.call(a, b, d.view, indices)
        same_bits(d.bits(), first)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_result_is_allocated(layout, rng):
    arrangement = arrange(layout, RAGGED)
    product = exact_for(rng, arrangement, len(RAGGED))
    made = arrangement.call(product.left(), product.right(), None, product.put(arrangement.indices))
    assert (type(made), made.shape) == (Array, (*arrangement.rows.shape, NARROW[0]))
    got, valid = made.to_numpy().view(np.uint16).reshape(-1, NARROW[0]), arrangement.rows.ravel() >= 0
    same_bits(got[valid], product.expected(arrangement.rows)[valid])


@pytest.mark.parametrize("layout", ["contiguous-64", "psum-64"])
def test_zeros_in_a_result_that_is_allocated(layout, rng):
    arrangement = arrange(layout, RAGGED)
    product = exact_for(rng, arrangement, len(RAGGED))
    indices = product.put(arrangement.indices)
    made = arrangement.call(product.left(), product.right(), None, indices, zero_padding=True)
    same_bits(made.to_numpy().view(np.uint16), product.expected(arrangement.rows, nobody=0))
