"""Sweeps of configurations and of policies check what they time, with invented kernels in place of a GPU's."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from test_tune import HOPPER

from nvgemm.bench import building, policies, sweep, workload
from nvgemm.bench.cold import Times
from nvgemm.bench.policies import ASIS, PolicySweep
from nvgemm.bench.shapes import DenseShape
from nvgemm.bench.sweep import Sweep
from nvgemm.bench.workload import Workload
from nvgemm.choice.completion import blocks_in
from nvgemm.choice.cost import H100
from nvgemm.choice.heuristic import select_config
from nvgemm.runtime.making import Making

PRODUCT = Workload("dense", DenseShape(256, 4096, 7168))
STREAM = 7
RIGHT = np.arange(1.0, 9.0)


class Matrix:
    """As much of a tensor as a sweep asks for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def float(self) -> Matrix:
        return Matrix(self.values.copy())

    clone = float

    def __sub__(self, other: Matrix) -> Matrix:
        return Matrix(self.values - other.values)

    def norm(self) -> np.floating:
        return np.linalg.norm(self.values)


class Operands:
    def __init__(self) -> None:
        self.d = Matrix(np.zeros(8))
        self.arrays = "a", "sfa", "b", "sfb", self.d

    def clear(self) -> None:
        self.d.values[:] = np.nan

    def valid(self, result: Matrix) -> Matrix:
        return result


class Kernel:
    """Right, but for what `wrong` makes of the results of some."""

    wrong = staticmethod(lambda config, values: values)

    def __init__(self, config, made, device) -> None:
        self.config, self.cubin, self.kernel = config, None, None

    def bind(self, a, sfa, b, sfb, d):
        def launch(stream: int) -> None:
            assert stream == STREAM
            values = self.wrong(self.kernel or self.config, RIGHT)
            if values is not None:
                d.values[:] = values

        return launch


def measured(torch, flush, runs, rounds):
    """Later ones are faster."""
    return {name: Times(100.0 - i, 0.0) for i, name in enumerate(runs)}


@pytest.fixture(autouse=True)
def _invented(monkeypatch):
    stream = SimpleNamespace(cuda_stream=STREAM)
    torch = SimpleNamespace(
        cuda=SimpleNamespace(current_stream=lambda: stream), equal=lambda x, y: np.array_equal(x.values, y.values)
    )
    monkeypatch.setattr(Kernel, "wrong", staticmethod(lambda config, values: values))
    monkeypatch.setattr(Workload, "operands", lambda self, torch: Operands())
    monkeypatch.setattr(workload, "view", lambda x, name: x)
    for module in (sweep, policies):
        monkeypatch.setattr(module.libraries, "torch", lambda: torch)
        monkeypatch.setattr(module.driver, "require_hopper", lambda ordinal: HOPPER)
        monkeypatch.setattr(module, "model", lambda device: H100)
        monkeypatch.setattr(module, "GemmKernel", Kernel)
    monkeypatch.setattr(sweep.driver, "device", lambda ordinal: HOPPER)
    monkeypatch.setattr(building, "build_config", lambda config, *made: None)
    monkeypatch.setattr(sweep, "Flush", lambda torch: None)
    monkeypatch.setattr(sweep, "measure", measured)
    monkeypatch.setattr(policies.cold, "Flush", lambda torch: None)
    monkeypatch.setattr(policies.cold, "measure", measured)
    monkeypatch.setattr(policies.sustained, "beside", lambda torch, runs, rounds: measured(torch, None, runs, rounds))


def test_configurations_come_fastest_first():
    timed = Sweep(PRODUCT)
    configs = timed.likely(5)
    assert list(timed.times(configs, 3)) == configs[::-1]
    assert timed.picked in configs


@pytest.mark.parametrize("wrong", [lambda values: 1.1 * values, lambda values: None])
def test_a_configuration_that_is_wrong_or_writes_nothing_is_told(monkeypatch, wrong):
    timed = Sweep(PRODUCT)
    *right, bad = timed.likely(5)
    monkeypatch.setattr(
        Kernel, "wrong", staticmethod(lambda config, values: wrong(values) if config == bad else values)
    )
    assert timed.times(right[:2], 3)
    with pytest.raises(RuntimeError, match="is wrong: it differs by"):
        timed.times([*right[:2], bad], 3)


@pytest.mark.parametrize("wrong", [RIGHT + 2.0**-40, None])
def test_a_policy_that_changes_a_bit_is_told(monkeypatch, wrong):
    """Cold and under load; what is timed is told by how it is made."""
    swept = PolicySweep(PRODUCT, blocks_in(select_config(PRODUCT.problem)), sets=3)

    def patched(self, made):
        kernel = Kernel(self._config, made, HOPPER)
        kernel.kernel = made
        return kernel

    monkeypatch.setattr(PolicySweep, "_patched", patched)
    monkeypatch.setattr(Kernel, "wrong", staticmethod(lambda made, values: wrong if made == Making("e2") else values))
    assert list(swept.times([ASIS, Making("e3")], 3)) == [ASIS, Making("e3")]
    assert list(swept.times_under_load([ASIS, Making("e3")], 3)) == [ASIS, Making("e3")]
    for times in (swept.times, swept.times_under_load):
        with pytest.raises(RuntimeError, match=r"'e2'.* gives another result"):
            times([ASIS, Making("e2")], 3)
