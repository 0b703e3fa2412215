"""The demo's job on a GPU, and the timing that it uses."""

from __future__ import annotations

import pytest

from nvgemm import demo
from nvgemm.bench.layer import Product
from nvgemm.bench.timing import median_seconds

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("framework", ["cupy", "nvgemm"])
def test_demo_prints_errors_times_and_cubins(framework: str, monkeypatch) -> None:
    if framework == "cupy":
        pytest.importorskip("cupy")
    else:
        monkeypatch.setattr(demo, "_cupy", lambda: None)
    monkeypatch.setattr(demo, "PRODUCTS", (Product("small", 300, 512, 1024),))
    machine = demo.machine()
    text = "\n".join([demo.machine_text(machine), *map(demo.product_text, demo.products(machine))])
    assert ("CuPy" if framework == "cupy" else "nvgemm") in text
    assert all(word in text for word in ("small: M=300, N=512, K=1024", "TFLOP/s", "GB/s", "verified", "cubin"))
    fine = text.split("1×128, 128×128")[1].split("%")[0]
    assert 2 < float(fine) < 4


def test_nothing_takes_almost_no_time() -> None:
    assert 0 <= median_seconds(lambda: None, rounds=5) < 1e-4
