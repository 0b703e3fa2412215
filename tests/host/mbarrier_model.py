"""A model of an mbarrier, which complains of what a GPU would not."""

from __future__ import annotations

from dataclasses import dataclass


class ProtocolError(Exception):
    pass


@dataclass
class Barrier:
    """An mbarrier: a phase completes when all have arrived and the announced bytes have come."""

    count: int
    pending: int = 0
    bytes: int = 0
    phase: int = 0

    def __post_init__(self) -> None:
        self.pending = self.count

    def arrive(self, expect: int = 0) -> None:
        if self.pending == 0:
            raise ProtocolError("more arrivals than the phase expects")
        self.pending -= 1
        self.complete(-expect)

    def complete(self, arrived: int) -> None:
        self.bytes += arrived
        if self.pending == 0 and self.bytes == 0:
            self.phase, self.pending = self.phase + 1, self.count

    def passes(self, parity: int) -> bool:
        """try_wait.parity: true while the phase before the current one has this parity."""
        return self.phase % 2 != parity
