"""One product's kernel under many policies of the control bits: cold and sustained, and the best of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nvgemm.bench import cold, libraries, sustained
from nvgemm.bench.cold import Times
from nvgemm.bench.contender import Launch
from nvgemm.bench.workload import Workload, launcher, result
from nvgemm.choice.completion import complete
from nvgemm.choice.tables import Blocks
from nvgemm.runtime import driver, nvrtc
from nvgemm.runtime.device_model import model
from nvgemm.runtime.gemm_kernel import GemmKernel, build_config
from nvgemm.runtime.kernel import load
from nvgemm.runtime.making import Making
from nvgemm.sass.policy import apply
from nvgemm.sass.verify import verify

ASIS, AGAIN = Making("asis"), Making("asis again")  # the same cubin loaded a second time: what differs is noise
_PATTERNS = ("e2", "e2p1", "e3", "e4", "s2e2", "s2e2p1", "s2e3", "s2e4", "s2e4p3", "s2e8", "s3e4")
_WINDOWS = ("", "-hd32", "-9_16")
GRID = ("asis", "none", "hd16", "tl32", *(pattern + window for window in _WINDOWS for pattern in _PATTERNS))
COMPILERS = (None, "12.8")  # the newest, and another where it is installed
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

    def __init__(self, workload: Workload, blocks: Blocks, sets: int | None = None) -> None:
        """`sets`: of operands; default: as many as keep them out of the L2 under load."""
        self._torch, self._device = libraries.torch(), driver.require_hopper(0)
        config = complete(workload.problem, model(self._device), blocks)
        if config is None:
            raise ValueError(f"{workload.name}: no kernel is built for {blocks}")
        self._config, self._flush = config, cold.Flush(self._torch)
        sets = sets or sustained.sets_of(workload.shape.bytes)
        self._operands = [workload.operands(self._torch) for _ in range(sets)]
        self._kernels = {ASIS: GemmKernel(config, ASIS, self._device)}
        self._expected = self._results(self._launches(ASIS))

    def distinct(self, ways: Iterable[Making]) -> list[Making]:
        """Those of `ways` that give other bytes than the ones before them."""
        return list({self._image(made): made for made in reversed(list(ways))}.values())[::-1]

    def times(self, ways: Iterable[Making], rounds: int) -> dict[Making, Times]:
        """Times with a flushed L2, alternating."""
        runs = {made: self._checked(made)[0] for made in ways}
        return cold.measure(self._torch, self._flush, runs, rounds)

    def times_under_load(self, ways: Iterable[Making], rounds: int) -> dict[Making, Times]:
        """Times under load, alternating, operands in turn."""
        runs = {made: self._checked(made) for made in ways}
        return sustained.beside(self._torch, runs, rounds)

    def _checked(self, made: Making) -> list[Launch]:
        """One launch for each set of operands.

        Raises
        ------
        RuntimeError
            A result differs from that of the compiler's own bits.
        """
        launches = self._launches(made)
        if not all(map(self._torch.equal, self._results(launches), self._expected)):
            raise RuntimeError(f"{made} gives another result than {ASIS}: {self._config}")
        return launches

    def _launches(self, made: Making) -> list[Launch]:
        if made not in self._kernels:
            self._kernels[made] = self._patched(made)
        return [launcher(self._torch, self._kernels[made], of) for of in self._operands]

    def _patched(self, made: Making) -> GemmKernel:
        kernel = GemmKernel(self._config, Making("asis", made.compiler), self._device)
        cubin = replace(kernel.cubin, image=self._image(made))
        kernel.kernel = load(cubin, self._device.ordinal, self._config.shared_bytes)
        return kernel

    def _image(self, made: Making) -> bytes:
        raw = build_config(self._config, "asis", made.compiler).raw
        image = raw if made == AGAIN else apply(raw, made.policy)
        verify(raw, image)
        return image

    def _results(self, launches: Sequence[Launch]) -> list[Any]:
        return [result(of, launch).clone() for of, launch in zip(self._operands, launches, strict=True)]


def ways() -> list[Making]:
    """Every policy with every compiler that is installed."""
    compilers = [compiler for compiler in COMPILERS if compiler is None or nvrtc.is_installed(compiler)]
    return [Making(policy, compiler) for compiler in compilers for policy in GRID]


def search(workload: Workload, blocks: Blocks, rounds: int) -> tuple[Making, Ratios]:
    """The way that wins over the newest compiler's own bits, and by how much; `ASIS` where none does."""
    sweep = PolicySweep(workload, blocks)
    first = sweep.times(sweep.distinct(ways()), FIRST_ROUNDS)
    ratios = against_asis(sweep, sorted(first, key=lambda made: first[made].us)[:FINALISTS], rounds)
    best = min(ratios, key=lambda made: ratios[made].together)
    return (best, ratios[best]) if ratios[best].wins else (ASIS, ratios[ASIS])


def confirm(workload: Workload, blocks: Blocks, made: Making, rounds: int) -> Ratios:
    """`made` beside `ASIS` once more; meant for another process, where modules lie elsewhere in memory."""
    return against_asis(PolicySweep(workload, blocks), [made], rounds)[made]


def against_asis(sweep: PolicySweep, chosen: Iterable[Making], rounds: int) -> dict[Making, Ratios]:
    """`ASIS` and `chosen`, beside each other and the noise, cold and under load."""
    every = list(dict.fromkeys([ASIS, AGAIN, *chosen]))
    return ratios_of(sweep.times(every, rounds), sweep.times_under_load(every, rounds))


def ratios_of(cold_times: Mapping[Making, Times], load_times: Mapping[Making, Times]) -> dict[Making, Ratios]:
    """Of their times, those of `ASIS` and `AGAIN` among them."""
    both = [{made: of.us / times[ASIS].us for made, of in times.items()} for times in (cold_times, load_times)]
    noise = max(abs(ratios.pop(AGAIN) - 1) for ratios in both)
    return {made: Ratios(ratio, both[1][made], noise) for made, ratio in both[0].items()}
