"""Launching the quantisers: one loaded module for each kernel, configuration and device."""

from __future__ import annotations

from typing import Any

from nvgemm.runtime import driver
from nvgemm.runtime.allocation import refuse_capture
from nvgemm.runtime.build import build
from nvgemm.runtime.kernel import Arguments, Kernel, load


class Launch:
    """A kernel loaded for one stream. Calling it launches; an empty grid is a no-op."""

    _loaded: dict[tuple[Any, ...], Kernel] = {}  # noqa: RUF012 - shared on purpose: one module for each configuration

    def __init__(self, name: str, constants: dict[str, int], device: int, stream: int) -> None:
        self.stream = stream
        key = (name, device, *constants.values())
        if key not in self._loaded:
            with driver.context(device):
                refuse_capture(stream, f"{name} would have to be loaded", "call it once before the capture")
            self._loaded[key] = load(build(name, constants), device)
        self.kernel = self._loaded[key]

    def __call__(self, grid: int, threads: int, *values: Any) -> None:
        if grid:
            self.kernel.launch(grid, threads, Arguments(*values), self.stream)
