"""One product's kernel under many policies of the control bits: cold and sustained, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nvgemm.bench import cold, libraries, sustained
from nvgemm.bench.cold import Times
from nvgemm.bench.workload import Operands, Workload, operands
from nvgemm.choice.completion import complete
from nvgemm.choice.tables import Blocks
from nvgemm.runtime import driver
from nvgemm.runtime.arrays import view
from nvgemm.runtime.device_model import model
from nvgemm.runtime.gemm_kernel import GemmKernel
from nvgemm.runtime.kernel import load
from nvgemm.sass.policy import apply
from nvgemm.sass.verify import verify

Launch = Callable[[], object]

ASIS, AGAIN = "asis", "asis again"  # the same cubin loaded a second time: what differs between them is noise
_PATTERNS = ("e2", "e2p1", "e3", "e4", "s2e2", "s2e2p1", "s2e3", "s2e4", "s2e4p3", "s2e8", "s3e4")
_WINDOWS = ("", "-hd32", "-9_16")
GRID = (ASIS, "none", "hd16", "tl32", *(pattern + window for window in _WINDOWS for pattern in _PATTERNS))
FIRST_ROUNDS, FINALISTS = 10, 3  # all policies are timed shortly, and the fastest of them again


class Ratios(NamedTuple):
    """Of a policy's times to those of ``asis``, and how far the same cubin loaded twice is apart."""

    cold: float
    sustained: float
    noise: float

    @property
    def together(self) -> float:
        return math.sqrt(self.cold * self.sustained)

    @property
    def wins(self) -> bool:
        """Both together are faster by more than the noise, and neither is slower by more than that."""
        return self.together < 1 - self.noise and max(self.cold, self.sustained) <= 1 + self.noise


class PolicySweep:
    """One product on device 0 in one configuration; needs torch."""

    def __init__(self, workload: Workload, blocks: Blocks) -> None:
        self._torch, self._device = libraries.torch(), driver.require_hopper(0)
        config = complete(workload.problem, model(self._device), blocks)
        if config is None:
            raise ValueError(f"{workload.name}: no kernel is built for {blocks}")
        self._config, self._flush = config, cold.Flush(self._torch)
        sets = sustained.sets_of(workload.shape.bytes)
        self._operands = [operands(self._torch, workload) for _ in range(sets)]
        self._kernels = {ASIS: GemmKernel(config, ASIS, self._device)}
        self._expected = self._results(self._launches(ASIS))

    def distinct(self, names: Iterable[str]) -> list[str]:
        """Those of `names` that give other bytes than the ones before them."""
        raw = self._kernels[ASIS].cubin.raw
        return list({apply(raw, name): name for name in reversed(list(names))}.values())[::-1]

    def times(self, names: Iterable[str], rounds: int) -> dict[str, Times]:
        """Times with a flushed L2, alternating."""
        return cold.measure(self._torch, self._flush, {name: self._checked(name)[0] for name in names}, rounds)

    def times_under_load(self, names: Iterable[str], rounds: int) -> dict[str, Times]:
        """Times under load, alternating, operands in turn."""
        return sustained.beside(self._torch, {name: self._checked(name) for name in names}, rounds)

    def _checked(self, name: str) -> list[Launch]:
        """One launch for each set of operands.

        Raises
        ------
        RuntimeError
            A result differs from that of the compiler's own bits.
        """
        launches = self._launches(name)
        if not all(map(self._torch.equal, self._results(launches), self._expected)):
            raise RuntimeError(f"{name} gives another result than {ASIS}: {self._config}")
        return launches

    def _launches(self, name: str) -> list[Launch]:
        if name not in self._kernels:
            self._kernels[name] = self._patched(name)
        return [_launch(self._torch, self._kernels[name], of) for of in self._operands]

    def _patched(self, name: str) -> GemmKernel:
        kernel = GemmKernel(self._config, ASIS, self._device)
        raw = kernel.cubin.raw
        image = raw if name == AGAIN else apply(raw, name)
        verify(raw, image)
        kernel.kernel = load(replace(kernel.cubin, image=image), self._device.ordinal, self._config.shared_bytes)
        return kernel

    def _results(self, launches: Sequence[Launch]) -> list[Any]:
        for launch, of in zip(launches, self._operands, strict=True):
            of.d.fill_(float("nan"))
            launch()
        return [of.valid(of.d).clone() for of in self._operands]


def _launch(torch: Any, kernel: GemmKernel, of: Operands) -> Launch:
    bound = kernel.bind(*(view(x, "operand") for x in of.arrays))
    return lambda: bound(torch.cuda.current_stream().cuda_stream)


def search(workload: Workload, blocks: Blocks, rounds: int) -> tuple[str, Ratios]:
    """The policy that wins over the compiler's own bits, and by how much; ``asis`` where none does."""
    sweep = PolicySweep(workload, blocks)
    first = sweep.times(sweep.distinct(GRID), FIRST_ROUNDS)
    ratios = _beside_asis(sweep, sorted(first, key=lambda name: first[name].us)[:FINALISTS], rounds)
    best = min(ratios, key=lambda name: ratios[name].together)
    return (best, ratios[best]) if ratios[best].wins else (ASIS, ratios[ASIS])


def confirm(workload: Workload, blocks: Blocks, policy: str, rounds: int) -> Ratios:
    """`policy` beside ``asis`` once more; meant for another process, where modules lie elsewhere in memory."""
    return _beside_asis(PolicySweep(workload, blocks), [policy], rounds)[policy]


def _beside_asis(sweep: PolicySweep, names: Iterable[str], rounds: int) -> dict[str, Ratios]:
    every = list(dict.fromkeys([ASIS, AGAIN, *names]))
    return ratios_of(sweep.times(every, rounds), sweep.times_under_load(every, rounds))


def ratios_of(cold_times: Mapping[str, Times], load_times: Mapping[str, Times]) -> dict[str, Ratios]:
    """Of the times of policies, `ASIS` and `AGAIN` among them."""
    both = [{name: of.us / times[ASIS].us for name, of in times.items()} for times in (cold_times, load_times)]
    noise = max(abs(ratios.pop(AGAIN) - 1) for ratios in both)
    return {name: Ratios(ratio, both[1][name], noise) for name, ratio in both[0].items()}
