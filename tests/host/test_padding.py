"""The kernel that clears rows of nobody compiles as its caller asks for it."""

from __future__ import annotations

import pytest

from nvgemm import padding
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime.array_view import ArrayView
from nvgemm.runtime.build import build

LAYOUT, D = ArrayView(1 << 20, (300,), None, "int32"), ArrayView(2 << 20, (300, 576), None, "bfloat16")


@pytest.mark.usefixtures("cache_dir")
@pytest.mark.parametrize("grouping", [Grouping.CONTIGUOUS, Grouping.PSUM])
def test_padding_compiles_without_spills(monkeypatch, grouping):
    launched = []

    class Launch:
        def __init__(self, name, constants, device, stream):
            self.cubin = build(name, constants)

        def __call__(self, grid, threads, *values):
            launched.append((self.cubin.meta["spilled_bytes"], self.cubin.meta["complaints"], grid, threads))

    monkeypatch.setattr(padding, "Launch", Launch)
    padding.zero_padding(Problem(300, 576, 7168, True, grouping, 5, 128), LAYOUT, D, 0)
    assert launched == [(0, [], 38, 256)]  # 8 rows to a CTA, a warp to each
