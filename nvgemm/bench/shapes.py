"""What is measured, as sizes: one product, or the products of several groups of rows, each with weights of its own."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from nvgemm.choice.problem import traffic_bytes_with_scales

SEED = 0  # of the groups' sizes: every run and every contender has the same ones
_NAME = re.compile(
    r"g(?P<groups>\d+):(?P<rows>\d+)(-(?P<high>\d+))?x(?P<n>\d+)x(?P<k>\d+)(:max(?P<max_m>\d+))?(:(?P<kind>jit|ragged))?"
)
_DRAWS: dict[str | None, Callable[[int, int, float], int]] = {  # rows of a group, with x drawn from [0, 1)
    None: lambda low, high, x: low + int((high - low + 1) * x),
    "jit": lambda rows, _, x: round(rows * (0.7 + 0.6 * x)),
    "ragged": lambda rows, _, x: round(3 * rows * x * x),  # from none on; the mean is as stated
}


class DenseShape(NamedTuple):
    """D [m, n] = A [m, k] · B [n, k]ᵀ."""

    m: int
    n: int
    k: int

    @classmethod
    def parse(cls, words: Sequence[str], rule: str) -> DenseShape:
        """M, N and K; ValueError with `rule`, which says what takes them, where these words are none."""
        if len(words) != 3 or not all(word.isdecimal() for word in words):
            raise ValueError(f"{rule}, got {' '.join(words)}")
        return cls(*map(int, words))

    @property
    def name(self) -> str:
        return shape_name(self.m, self.n, self.k)

    @property
    def flop(self) -> int:
        return 2 * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """Least traffic: every operand read once, the result written once."""
        return traffic_bytes_with_scales(*self)

    @property
    def facts(self) -> dict[str, Any]:
        """As a result holds them."""
        return {"name": self.name, **self._asdict(), "flop": self.flop, "bytes": self.bytes}


@dataclass(frozen=True)
class GroupedShape:
    """For each group g: D_g [sizes[g], n] = A_g [sizes[g], k] · B_g [n, k]ᵀ.

    Attributes
    ----------
    rows : int
        Of a group, as the name states them: the mean of what the sizes are drawn from.
    max_m : int or None
        Rows of a group's place in memory, where each has one of its own.
    """

    name: str
    rows: int
    n: int
    k: int
    sizes: tuple[int, ...]
    max_m: int | None = None

    @classmethod
    def parse(cls, name: str) -> GroupedShape:
        """Such as ``g8:4096x7168x2048``: 8 groups of 4096 rows, N and K.

        The rows may be a range, ``257-320``. ``:max4096`` gives the rows of a group's place, ``:jit`` makes the groups
        0.7 to 1.3 times as large as stated, and ``:ragged`` 0 to 3 times, small ones more often.

        Raises
        ------
        ValueError
            No such name, or a group is larger than its place.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"shape: expected such as g8:4096x7168x2048:jit or g6:20x4096x2048:max4096, got {name!r}")
        groups, low, n, k = (int(match[part]) for part in ("groups", "rows", "n", "k"))
        high = int(match["high"] or low)
        max_m = None if match["max_m"] is None else int(match["max_m"])
        random_number, draw = random.Random(SEED).random, _DRAWS[match["kind"]]
        sizes = tuple(draw(low, high, random_number()) for _ in range(groups))
        if max_m is not None and max(sizes, default=0) > max_m:
            raise ValueError(f"shape: a group of {name} has {max(sizes)} rows, more than its place of {max_m}")
        return cls(name, (low + high) // 2, n, k, sizes, max_m)

    @property
    def groups(self) -> int:
        return len(self.sizes)

    @cached_property
    def m(self) -> int:
        """Rows of all groups together; padding is none of them."""
        return sum(self.sizes)

    @property
    def flop(self) -> int:
        return 2 * self.m * self.n * self.k

    @property
    def weight_bytes(self) -> int:
        """B of the groups that have rows."""
        return sum(size > 0 for size in self.sizes) * self.n * self.k

    @property
    def bytes(self) -> int:
        """Least traffic: the rows of all groups and the weights of those that have rows, each once."""
        return traffic_bytes_with_scales(self.m, self.n, self.k) - self.n * self.k + self.weight_bytes

    @property
    def facts(self) -> dict[str, Any]:
        """As a result holds them."""
        sizes = {name: getattr(self, name) for name in ("m", "n", "k", "groups", "rows", "max_m")}
        return {"name": self.name, **sizes, "flop": self.flop, "bytes": self.bytes, "weight_bytes": self.weight_bytes}


Shape = DenseShape | GroupedShape


def shape_name(m: int, n: int, k: int) -> str:
    """Such as ``64x4096x7168``."""
    return f"{m}x{n}x{k}"
