"""Kernels built from sizes alone are those that a call with such operands launches."""

from __future__ import annotations

import pytest
from test_grouped_checks import FLAT, MMAX, G, K, M, N, operands

from nvgemm import ahead
from nvgemm.choice.grouped_checks import LAYOUT_NAMES, Grouped
from nvgemm.choice.problem import Grouping, Overlap, Problem, ceil_div


@pytest.mark.parametrize("layout", ahead.LAYOUTS)
@pytest.mark.parametrize("pdl", [False, True])
def test_the_problem_is_that_of_the_call(layout: str, pdl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Problem] = []
    monkeypatch.setattr(ahead, "choose", lambda problem, policy, device: (built.append(problem), ()))
    monkeypatch.setattr(ahead, "build_config", lambda config, *made: None)
    ahead.build_grouped(layout, G, M if layout in FLAT else MMAX, N, K, expected_m=20, policy="asis", pdl=pdl)
    grouping = Grouping[layout.upper()]
    alignment = 128 if grouping in (Grouping.CONTIGUOUS, Grouping.PSUM) else 1
    overlap = Overlap.OVERLAPPED if pdl else Overlap.ALONE
    call = Grouped(grouping, alignment, 20, overlap=overlap)
    *views, indices = operands(layout).values()
    assert built == [call.check([*views, indices] if grouping in LAYOUT_NAMES else views)]


def test_expected_rows_default_to_what_the_operands_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Problem] = []
    monkeypatch.setattr(ahead, "choose", lambda problem, policy, device: (built.append(problem), ()))
    monkeypatch.setattr(ahead, "build_config", lambda config, *made: None)
    for layout in ("masked", "offsets"):
        ahead.build_grouped(layout, G, M, N, K, policy="asis")
    assert [problem.group_rows for problem in built] == [M, ceil_div(M, G)]
