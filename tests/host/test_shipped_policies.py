"""Products under their policies beside the compiler's own bits, with invented times in place of a GPU's."""

from __future__ import annotations

import pytest
from test_tune import HOPPER

from nvgemm.bench import building, shipped
from nvgemm.bench.cold import Times
from nvgemm.bench.policies import AGAIN, ASIS
from nvgemm.bench.suites import SUITES, Suite


class PolicySweep:
    """All but the compiler's own bits take 90 of its 100 µs."""

    def __init__(self, workload, blocks, sets):
        assert sets == 1

    def times(self, ways, rounds):
        return {made: Times({ASIS: 100.0, AGAIN: 101.0}.get(made, 90.0), 0.0) for made in ways}


@pytest.fixture
def built(monkeypatch) -> list[tuple[str, str | None]]:
    policies: list[tuple[str, str | None]] = []
    monkeypatch.setattr(shipped, "PolicySweep", PolicySweep)
    monkeypatch.setattr(shipped.driver, "require_hopper", lambda ordinal: HOPPER)
    monkeypatch.setattr(building, "build_config", lambda config, *made: policies.append(made))
    return policies


def test_every_product_of_a_suite_has_a_line(built, capsys, monkeypatch):
    few = {name: Suite(SUITES[name].shapes[:2], {}) for name in ("dense", "masked")}
    monkeypatch.setattr(shipped, "SUITES", few)
    shipped.run(few)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        f"| {suite} {shape.name}" for suite in few for shape in few[suite].shapes
    ]
    assert set(built) == {("asis", None)}  # what the sweep patches by itself


def test_what_is_told_of_a_product(built):
    (found,) = shipped.beside_asis([shipped.Workload("dense", SUITES["dense"].shapes[-1])])
    assert found.made.policy != "asis"
    assert (round(found.speed, 3), round(found.noise, 4)) == (1.111, 0.0099)
