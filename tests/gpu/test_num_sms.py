"""A product on some of the SMs: right for every number, and no more CTAs than that."""

from __future__ import annotations

import pytest
from products import Guarded, bits_of, exact, same_bits

import nvgemm
from nvgemm.runtime import driver, sm_limit

pytestmark = pytest.mark.gpu

SHAPE = (700, 1160, 1040)


@pytest.mark.parametrize("num_sms", [1, 2, 3, 7, 78, 131])
def test_every_number_of_sms_gives_the_right_result(rng, num_sms):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    nvgemm.fp8_gemm_nt(*product.pairs(), d.view, num_sms=num_sms)
    same_bits(d.bits(), product.bits())


def test_the_number_set_for_all_calls_is_that_of_the_grid(rng, monkeypatch):
    product = exact(rng, *SHAPE)
    monkeypatch.setattr(sm_limit, "limit", None)
    assert nvgemm.get_num_sms() == driver.device(0).num_sms
    nvgemm.set_num_sms(5)
    plan = nvgemm.plan(*product.pairs())
    nvgemm.set_num_sms(None)
    assert f" on {5 // plan.config.cluster_size * plan.config.cluster_size} CTAs" in plan.explain()
    same_bits(product.bits(), bits_of(plan()))


def test_more_sms_than_there_are(rng):
    product, d = exact(rng, *SHAPE), Guarded(*SHAPE[:2])
    before = d.bits().copy()
    with pytest.raises(ValueError, match=r"num_sms: 1000 is more than the \d+ SMs of device 0"):
        nvgemm.fp8_gemm_nt(*product.pairs(), d.view, num_sms=1000)
    same_bits(d.bits(), before)
