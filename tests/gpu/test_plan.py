"""A `Plan` launches what it was made for, takes other operands with checks, and says what it will do."""

from __future__ import annotations

import numpy as np
import pytest
from products import POISON, Guarded, Product, bits_of, exact, same_bits

import nvgemm
from nvgemm import ArrayView, PerformanceWarning
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.problem import sfa_stride

pytestmark = pytest.mark.gpu

SHAPE = (190, 520, 1040)


@pytest.fixture
def product(rng):
    return exact(rng, *SHAPE)


def test_nothing_is_launched_before_the_call(product):
    d = Guarded(*SHAPE[:2])
    plan = nvgemm.plan(*product.pairs(), d.view)
    assert (d.bits() == POISON).all()
    assert plan() is plan.d is d.view
    same_bits(d.bits(), product.bits())


def test_the_result_is_allocated_where_none_is_given(product):
    plan = nvgemm.plan(*product.pairs())
    assert plan() is plan.d
    same_bits(bits_of(plan.d), product.bits())


def test_operands_written_in_between_are_read_again(product, rng):
    a, b = product.pairs()
    plan = nvgemm.plan(a, b)
    plan()
    product.a[:] = exact(rng, *SHAPE).a
    other = product.put(product.a)
    copy(a[0], other)
    same_bits(bits_of(plan()), product.bits())


def copy(target, source) -> None:
    from nvgemm.runtime import driver

    with driver.context(0):
        driver.check(driver.cuda().cuMemcpyDtoD(target.ptr, source.ptr, source.shape[0] * source.shape[1]))


def test_rebinding(product, rng):
    plan = nvgemm.plan(*product.pairs())
    first = plan()
    other = exact(rng, *SHAPE)
    d = Guarded(*SHAPE[:2])
    assert plan(a=other.left(), d=d.view) is d.view
    same_bits(d.bits(), Product(other.a, other.sfa, product.b, product.sfb).bits())
    same_bits(bits_of(first), product.bits())
    plan(b=other.right())
    same_bits(d.bits(), other.bits())
    d2 = Guarded(*SHAPE[:2])
    plan(d=d2.view)
    same_bits(d2.bits(), other.bits())


def test_rebinding_to_fewer_rows(product):
    plan = nvgemm.plan(*product.pairs())
    part, d = product.rows(33), Guarded(33, SHAPE[1])
    plan(a=part.left(), d=d.view)
    assert plan.problem.m == 33
    same_bits(d.bits(), part.bits())


def test_a_refused_rebinding_changes_nothing(product):
    d = Guarded(*SHAPE[:2])
    plan = nvgemm.plan(*product.pairs(), d.view)
    narrow = ArrayView(product.left()[0].ptr, (SHAPE[0], SHAPE[2] - 16), (SHAPE[2], 1)), product.scales_a()
    with pytest.raises(ValueError, match="K must be the same"):
        plan(a=narrow)
    with pytest.raises(ValueError, match="d: expected shape"):
        plan(a=product.rows(5).left())
    assert (d.bits() == POISON).all()
    plan()
    same_bits(d.bits(), product.bits())


def test_explain(product):
    plan = nvgemm.plan(*product.pairs())
    text, config = plan.explain(), plan.config
    assert isinstance(config, GemmConfig)
    assert (config.shape_n, config.shape_k) == SHAPE[1:]
    shape = f"D [{SHAPE[0]}, {SHAPE[1]}] = A [{SHAPE[0]}, {SHAPE[2]}] · B [{SHAPE[1]}, {SHAPE[2]}]ᵀ"
    named = (shape, f"{config.block_m}×{config.block_n}", f"{config.num_stages} stages", "waves", "µs", "MB")
    assert all(word in text for word in (*named, "NVRTC", "control words changed", str(plan.cubin_path)))
    assert f"M={SHAPE[0]}" in repr(plan)


def test_the_cubins_folder(product):
    path = nvgemm.plan(*product.pairs()).cubin_path
    if path is None:
        pytest.skip("the cache cannot be written here")
    names = {"kernel.cubin", "kernel.raw.cubin", "kernel.cu", "config.cuh", "meta.json"}
    assert names <= {file.name for file in path.iterdir()}


def test_transposed_scales_take_scratch(product):
    with pytest.warns(PerformanceWarning):
        plan = nvgemm.plan(*product.pairs("k"))
    assert plan.workspace_bytes == 4 * sfa_stride(SHAPE[0]) * product.sfa.shape[1]
    assert nvgemm.plan(*product.pairs()).workspace_bytes == 0
    for _ in range(3):
        same_bits(bits_of(plan()), product.bits())


@pytest.mark.parametrize("shape", [(0, 520, 1040), (190, 520, 0)], ids=str)
def test_nothing_to_multiply(shape, rng):
    product = exact(rng, *shape)
    plan = nvgemm.plan(*product.pairs())
    assert (plan.config, plan.cubin_path, plan.workspace_bytes) == (None, None, 0)
    assert "nothing to multiply" in plan.explain()
    assert "nothing to multiply" in repr(plan)
    assert bits_of(plan()).shape == shape[:2]


def test_the_stream_is_that_of_the_making(product):
    cupy = pytest.importorskip("cupy")
    a, b = ((cupy.asarray(x), cupy.asarray(y)) for x, y in ((product.a, product.sfa), (product.b, product.sfb)))
    a = a[0], nvgemm.get_mn_major_tma_aligned_tensor(a[1])
    cupy.cuda.Device(0).synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        plan = nvgemm.plan(a, b)
    assert plan.stream == stream.ptr
    d = plan()
    stream.synchronize()
    same_bits(cupy.asnumpy(d.view(np.uint16)), product.bits())
