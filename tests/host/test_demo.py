"""The demo's data and figures, and its whole path on a machine without a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sass_handmade import EXIT, WARPGROUP, cubin, promotion

from nvgemm import demo, settings
from nvgemm.bench.layer import Product, activations, per_tensor_product, token_errors, weights
from nvgemm.bench.suites import DENSE
from nvgemm.runtime.build import Cubin


def test_activations_have_the_promised_outliers(rng) -> None:
    x = activations(rng, 256, 4096)
    assert x.dtype == np.float32
    of_channels = np.median(np.abs(x[1:]), axis=0)
    large = of_channels > 10 * np.median(of_channels)
    assert large.sum() == 4096 // 512
    assert np.abs(x[0, large]).mean() > 1000 * np.abs(x[0, ~large]).mean()


def test_weights_keep_a_tokens_norm(rng) -> None:
    x, w = rng.standard_normal((32, 1024)), weights(rng, 1024, 1024)
    ratio = np.linalg.norm(x @ w.T, axis=1) / np.linalg.norm(x, axis=1)
    assert np.all((ratio > 0.7) & (ratio < 1.5))


def test_token_errors(rng) -> None:
    x, w = rng.standard_normal((5, 64)).astype(np.float32), rng.standard_normal((32, 64)).astype(np.float32)
    d = x.astype(np.float64) @ w.T.astype(np.float64)
    assert token_errors(d, x, w) == (0, 0)
    d[3] *= 1.5
    median, worst = token_errors(d, x, w)
    assert median == 0
    assert worst == pytest.approx(0.5)


def test_one_scale_a_matrix_loses_small_tokens(rng) -> None:
    x, w = rng.standard_normal((8, 256)).astype(np.float32), weights(rng, 64, 256)
    x[0] *= 1e6
    assert token_errors(per_tensor_product(x, w), x, w)[1] > 0.5
    fine = demo._emulate(x, w)
    assert token_errors(fine, x, w)[1] < 0.1


def test_traffic_and_work_of_a_product() -> None:
    product = Product("", 16, 256, 129)
    assert product.flop == 2 * 16 * 256 * 129
    assert product.bytes == 16 * 129 + 256 * 129 + 2 * 16 * 256 + 4 * 16 * 2


def test_suite_has_no_shape_twice() -> None:
    assert len(set(DENSE)) == len(DENSE) == 71


def test_a_kernel_whose_policy_was_refused_is_shown_as_it_runs() -> None:
    raw = cubin({"k": [WARPGROUP, *promotion(8), EXIT]})
    refused = Cubin(raw, raw, "k", None, {"policy": "e2", "refusal": "rule 6: …"}, {})
    assert demo._excerpt(refused)[0] == "policy asis"


def test_without_a_gpu_it_builds_patches_and_computes(cache_dir, monkeypatch) -> None:
    monkeypatch.setattr(settings, "sass", "s2e2")
    monkeypatch.setattr(demo, "PRODUCTS", (Product("small", 1024, 2048, 512),))
    none = {"device": None, "why": "none"}
    facts = list(demo.products(none))
    assert json.loads(json.dumps(facts)) == facts
    text = "\n".join(map(demo.product_text, facts))
    assert "small: M=1024, N=2048, K=512" in text
    assert "changed by policy s2e2, verified" in text
    assert str(cache_dir) in text
    assert "error against FP64, 64 tokens" in text
    assert " 0 changed" not in text
