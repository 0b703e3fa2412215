"""The SM clock at the moment of a measurement, by a kernel launched right behind it."""

from __future__ import annotations

from ctypes import c_void_p
from functools import lru_cache
from typing import Any

from nvgemm.runtime.build import build
from nvgemm.runtime.kernel import Arguments, Kernel, load

KERNEL = "clock_probe"


class ClockProbe:
    """Measures the SM clock each time it is called, on torch's current stream, for 20 µs."""

    def __init__(self, torch: Any, capacity: int) -> None:
        self._torch, self._capacity, self._count = torch, capacity, 0
        self._kernel = _kernel(torch.cuda.current_device())
        self._results = torch.zeros(1 + 2 * capacity, dtype=torch.int64, device="cuda")
        self._arguments = Arguments(c_void_p(self._results.data_ptr()))

    def __call__(self) -> None:
        if self._count == self._capacity:
            raise RuntimeError(f"the clock probe holds {self._capacity} measurements")
        self._count += 1
        self._kernel.launch(1, 1, self._arguments, self._torch.cuda.current_stream().cuda_stream)

    def megahertz(self) -> list[float]:
        """MHz of every call so far, in their order; waits for the last."""
        count, *numbers = self._results.tolist()
        if count != self._count:
            raise RuntimeError(f"{count} clocks were measured, {self._count} asked for")
        return [
            1e3 * clocks / ns for clocks, ns in zip(numbers[: 2 * count : 2], numbers[1 : 2 * count : 2], strict=True)
        ]


@lru_cache
def _kernel(device: int) -> Kernel:
    return load(build(KERNEL, {}), device)
