"""One product in many configurations beside each other: what the model and the tables are fitted to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from nvgemm import settings
from nvgemm.bench import libraries
from nvgemm.bench.building import build_all
from nvgemm.bench.cold import Flush, Times, measure
from nvgemm.bench.contender import Launch
from nvgemm.bench.shapes import DenseShape
from nvgemm.bench.workload import Workload, launcher, result
from nvgemm.choice.completion import orders
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100_CLOCK, predict
from nvgemm.choice.heuristic import candidates, select_config
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import model
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.making import Making, making

WIDTHS = (*range(8, 193, 8), 256)  # of tiles: more than the model alone chooses from
_TOLERANCE = 5e-3  # of the norm: sums in another order, rounded to BF16


class Sweep:
    """Operands of one product on device 0, and times of configurations on them; needs torch."""

    def __init__(self, workload: Workload) -> None:
        self._torch = libraries.torch()
        self.problem, self.model = workload.problem, model(driver.require_hopper(0))
        self.picked = select_config(self.problem, self.model)
        self._operands, self._flush = workload.operands(self._torch), Flush(self._torch)
        self._expected = self._result(self._launch(self.picked))

    def likely(self, count: int) -> list[GemmConfig]:
        """The `count` candidates of least predicted time and the one that is picked, each in all its orders."""
        legal = sorted(candidates(self.problem, self.model, WIDTHS), key=self.predict)[:count]
        ordered = [[config, *orders(self.problem, self.model, config)] for config in (*legal, self.picked)]
        return list(dict.fromkeys(chain.from_iterable(ordered)))

    def predict(self, config: GemmConfig) -> float:
        """Clocks by the model."""
        return predict(config, self.problem, self.model)

    def times(self, configs: Iterable[GemmConfig], rounds: int) -> dict[GemmConfig, Times]:
        """Cold times of `configs`, alternating, fastest first.

        Raises
        ------
        RuntimeError
            A configuration gives another result than the one that is picked.
        """
        configs = list(configs)
        build_all((config, _making(config)) for config in configs)
        runs = {config: self._checked(config) for config in configs}
        times = measure(self._torch, self._flush, runs, rounds)
        return dict(sorted(times.items(), key=lambda item: item[1].us))

    def _checked(self, config: GemmConfig) -> Launch:
        launch = self._launch(config)
        error = float((self._result(launch) - self._expected).norm() / self._expected.norm())
        if not error <= _TOLERANCE:
            raise RuntimeError(f"{config} is wrong: it differs by {error:.1e} of the result's norm")
        return launch

    def _launch(self, config: GemmConfig) -> Launch:
        return launcher(self._torch, GemmKernel(config, _making(config), driver.device(0)), self._operands)

    def _result(self, launch: Launch) -> Any:
        return result(self._operands, launch).float()


def _making(config: GemmConfig) -> Making:
    """As of its kind: what policy suits a product best is searched later."""
    return making(settings.sass, config)


def run(m: int, n: int, k: int, count: int = 24) -> None:
    """Print the cold times of the `count` candidates with the least predicted time, fastest first; needs torch."""
    sweep = Sweep(Workload("dense", DenseShape(m, n, k)))
    for config, times in sweep.times(sweep.likely(count), rounds=30).items():
        print(_line(config, times, sweep.predict(config), config == sweep.picked))


def _line(c: GemmConfig, times: Times, clocks: float, picked: bool) -> str:
    blocks = f"{c.block_m}×{c.block_n}, {c.num_stages} stages, {c.num_consumers} consumers, K split {c.k_split}"
    order = f"{c.in_flight} under way, unrolled by {c.k_unroll}"
    predicted = f"predicted {clocks / H100_CLOCK * 1e6:.2f}"
    mark = "  <- picked" if picked else ""
    return (
        f"{times.us:>9.2f} µs  {blocks}, cluster {c.cluster_m}×{c.cluster_n}×{c.cluster_k}, {order}, {predicted}{mark}"
    )
