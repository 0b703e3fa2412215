"""Grouped products of any layout, library or pointer: the bits are the same, and nothing else is written."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from grouped_products import Arrangement, GroupedProduct, GuardedRows, arrange, check, grouped
from products import POISON, exact, same_bits

import nvgemm
from nvgemm import Array, ArrayView, PerformanceWarning

pytestmark = pytest.mark.gpu

N, K = 200, 272
COUNTS = (37, 0, 128, 3)
ONE_OF_EACH = ("contiguous-64", "psum-64", "offsets", "masked", "batched")


@pytest.fixture(params=ONE_OF_EACH)
def arrangement(request) -> Arrangement:
    return arrange(request.param, COUNTS)


@pytest.fixture
def product(arrangement, rng) -> GroupedProduct:
    return grouped(exact, rng, arrangement, len(COUNTS), N, K)


@pytest.mark.parametrize("sfa", ["mn", "k"])
def test_layouts_of_scales(sfa, arrangement, product):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(product, arrangement, sfa=sfa)
    assert [warning.category for warning in caught] == [PerformanceWarning] * (sfa == "k")


def test_slices_of_larger_buffers(arrangement, product):
    """A inside a buffer of NaN codes, its rows and groups apart; D likewise."""
    *groups, m = arrangement.rows.shape
    gap = 3 if groups else 0
    buffer = np.full((*groups, m + gap, K + 48), 0x7F, np.uint8)
    buffer[..., :m, 16 : 16 + K] = product.a
    a = ArrayView(product.put(buffer).ptr + 16, product.a.shape, (*((m + gap) * (K + 48),) * len(groups), K + 48, 1))
    d = GuardedRows(arrangement.rows.shape, N, gap)
    arrangement.call((a, product.scales_a()), product.right(), d.view, product.put(arrangement.indices))
    same_bits(d.bits(), product.expected(arrangement.rows))


def test_raw_pointers(arrangement, product):
    (a, sfa), (b, sfb), indices = product.left(), product.right(), product.put(arrangement.indices)
    views = [ArrayView(x.ptr, x.shape, None, x.dtype) for x in (a, b, sfb, indices)]
    d = GuardedRows(arrangement.rows.shape, N)
    assert arrangement.call((views[0], sfa), tuple(views[1:3]), d.view, views[3], stream=0) is d.view
    same_bits(d.bits(), product.expected(arrangement.rows))
    assert isinstance(arrangement.call((views[0], sfa), tuple(views[1:3]), None, views[3], stream=0), Array)


class Interface:
    """An object that shows device memory by the CUDA array interface alone."""

    def __init__(self, array: Array) -> None:
        self.kept, self.__cuda_array_interface__ = array, array.__cuda_array_interface__


class Capsule:
    """The same by DLPack."""

    def __init__(self, array: Array) -> None:
        self.__dlpack__, self.__dlpack_device__ = array.__dlpack__, array.__dlpack_device__


@pytest.mark.parametrize("arrangement", ONE_OF_EACH[:-1], indirect=True)
@pytest.mark.parametrize("door", [Interface, Capsule])
def test_indices_by_either_protocol(door, arrangement, product):
    d = GuardedRows(arrangement.rows.shape, N)
    arrangement.call(product.left(), product.right(), d.view, door(product.put(arrangement.indices)))
    same_bits(d.bits(), product.expected(arrangement.rows))


@pytest.mark.parametrize("tagged", [False, True])
def test_cupy(tagged, arrangement, product):
    cupy, ml_dtypes = pytest.importorskip("cupy"), pytest.importorskip("ml_dtypes")
    shape = (*arrangement.rows.shape, N)
    with cupy.cuda.Stream(non_blocking=True) as stream:
        a, padded, b, sfb, indices = (cupy.asarray(x) for x in operands(product, arrangement))
        if tagged:
            a, b = (x.view(ml_dtypes.float8_e4m3fn) for x in (a, b))
        a = a, padded.swapaxes(-1, -2)[..., : shape[-2], :]
        d = cupy.full(shape, POISON, cupy.uint16)
        assert arrangement.call(a, (b, sfb), d, indices) is d
        made = arrangement.call(a, (b, sfb), None, indices)
        assert (type(made), made.shape, made.dtype) == (cupy.ndarray, shape, ml_dtypes.bfloat16)
        stream.synchronize()
        compare(product, arrangement, cupy.asnumpy(d), cupy.asnumpy(made.view(cupy.uint16)))


def test_torch(arrangement, product):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch has no CUDA here")
    shape = (*arrangement.rows.shape, N)
    a, padded, b, sfb, indices = (torch.from_numpy(x).cuda() for x in operands(product, arrangement))
    a = a.view(torch.float8_e4m3fn), padded.transpose(-1, -2)[..., : shape[-2], :]
    b = b.view(torch.float8_e4m3fn), sfb
    d = torch.from_numpy(np.full(shape, POISON, np.uint16).view(np.int16)).cuda().view(torch.bfloat16)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        assert arrangement.call(a, b, d, indices) is d
        made = arrangement.call(a, b, None, indices)
    assert (tuple(made.shape), made.dtype) == (shape, torch.bfloat16)
    torch.cuda.synchronize()
    compare(product, arrangement, *(x.view(torch.int16).cpu().numpy().view(np.uint16) for x in (d, made)))


def operands(product: GroupedProduct, arrangement: Arrangement) -> tuple[np.ndarray, ...]:
    return product.a, product.padded_scales(), product.b, product.sfb, arrangement.indices


def compare(product: GroupedProduct, arrangement: Arrangement, given: Any, made: Any) -> None:
    """All rows of a D that was given, and those of groups of one that was made."""
    expected, valid = product.expected(arrangement.rows), arrangement.rows.ravel() >= 0
    same_bits(given.reshape(-1, N), expected)
    same_bits(made.reshape(-1, N)[valid], expected[valid])


@pytest.mark.parametrize("arrangement", ONE_OF_EACH[:-1], indirect=True)
def test_wrong_indices_are_refused_before_anything_is_launched(arrangement, product):
    d = GuardedRows(arrangement.rows.shape, N)
    with pytest.raises(TypeError, match="expected int32, got int64"):
        arrangement.call(product.left(), product.right(), d.view, product.put(arrangement.indices.astype(np.int64)))
    with pytest.raises(TypeError, match="host array"):
        arrangement.call(product.left(), product.right(), d.view, arrangement.indices)
    assert (d.bits() == POISON).all()


def test_more_than_2_to_the_31_elements():
    """Two groups, 70000 rows of 32768 columns: D has 2.3 · 10⁹ elements; looked at around every kind of border."""
    cupy = pytest.importorskip("cupy")
    m, n, border = 70_000, 32_768, 65_000
    if cupy.cuda.runtime.memGetInfo()[0] < 6 << 30:
        pytest.skip("needs 6 GiB of free memory on the GPU")
    arrangement = arrange("offsets", [border, m - border])
    product = grouped(exact, np.random.default_rng(31), arrangement, 2, n, 128)
    a, padded, b, sfb, indices = (cupy.asarray(x) for x in operands(product, arrangement))
    d = cupy.empty((m, n), cupy.uint16)
    nvgemm.m_grouped_fp8_gemm_nt_offsets((a, padded.T[:m]), (b, sfb), d, indices)
    starts = (0, border - 8, border, 2**31 // n - 8, 2**31 // n, m - 8)
    rows = np.concatenate([np.arange(start, start + 8) for start in starts])
    part = GroupedProduct(product.a[rows], product.sfa[rows], product.b, product.sfb)
    same_bits(cupy.asnumpy(d[cupy.asarray(rows)]), part.expected(arrangement.rows[rows]))
    del d
    cupy.get_default_memory_pool().free_all_blocks()
