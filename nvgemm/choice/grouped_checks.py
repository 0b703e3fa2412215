"""Every refusal of a caller's mistake in a grouped product, made before anything is launched or allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nvgemm.choice import rules
from nvgemm.choice.checks import RECIPE_1D2D
from nvgemm.choice.pointers import NAMES, grouped_pointers
from nvgemm.choice.problem import Grouping, Overlap, Problem, View, ceil_div
from nvgemm.choice.rules import Layout

MAX_GROUPS = 1024  # they are listed in shared memory
LAYOUT_NAMES = {
    Grouping.CONTIGUOUS: "grouped_layout",
    Grouping.PSUM: "grouped_layout",
    Grouping.MASKED: "masked_m",
    Grouping.OFFSETS: "offsets",
}


class Grouped(NamedTuple):
    """What a call says of its groups, apart from its operands."""

    grouping: Grouping
    alignment: int = 1
    expected_m: int | None = None
    recipe: tuple[int, int, int] = RECIPE_1D2D
    overlap: Overlap = Overlap.ALONE

    @property
    def names(self) -> tuple[str, ...]:
        """What the caller calls the operands, in order."""
        return (*NAMES, LAYOUT_NAMES[self.grouping]) if self.grouping in LAYOUT_NAMES else NAMES

    @property
    def _overlap(self) -> Overlap:
        """What a tile is stands in the layout, and that must be waited for before anything is read."""
        return self.overlap if self.grouping not in LAYOUT_NAMES else min(self.overlap, Overlap.OVERLAPPED)

    def check(self, views: Sequence[View | None]) -> Problem:
        """Check the operands, in the order of `names`; D is None where it will be allocated.

        Raises
        ------
        TypeError
            A dtype is wrong, or a pair is swapped.
        ValueError
            Anything else that cannot work; the message gives argument, value and rule.
        """
        layouts = [(x.shape, x.strides, x.dtype) for x in views if x is not None]
        sfa_aligned = not views[1].ptr & 15  # type: ignore[union-attr]
        problem = self._problem(*layouts[:4], sfa_aligned=sfa_aligned)
        if views[4] is not None:
            _output(layouts[4], problem)
        if self.grouping in LAYOUT_NAMES:
            _layout(self.names[5], views[5], self.grouping, problem)  # type: ignore[arg-type]
        grouped_pointers(views, self.names)
        return problem

    def problem(self, groups: int, m: int, n: int, k: int, sfa_mn_major: bool = True) -> Problem:
        """Of sizes that have been checked; M counts the rows of A [M, K] or [G, M, K]."""
        expected = self.expected_m or (m if self.grouping.own_rows else ceil_div(m, max(groups, 1)))
        expected = min(expected, max(m, 1))
        return Problem(m, n, k, sfa_mn_major, self.grouping, groups, self.alignment, expected, self._overlap)

    def _problem(self, a: Layout, sfa: Layout, b: Layout, sfb: Layout, *, sfa_aligned: bool) -> Problem:
        if self.recipe != RECIPE_1D2D:
            raise ValueError(f"recipe: {RECIPE_1D2D} is what grouped products compute, got {self.recipe}")
        rank = 3 if self.grouping.own_rows else 2
        for name, data, scales in (("a", a, sfa), ("b", b, sfb)):
            rules.quantised(name, data, scales)
        _rank("a", a[0], rank, "[G, M, K]" if rank == 3 else "[M, K]")
        _rank("b", b[0], 3, "[G, N, K]")
        (m, k), (groups, n, _) = a[0][-2:], b[0]
        rules.same_k(a[0], b[0])
        if rank == 3 and a[0][0] != groups:
            raise ValueError(f"a and b: G must be the same, got G={a[0][0]} in a {a[0]} and G={groups} in b {b[0]}")
        sizes(groups, n, k)
        _matrices("a", a, "K")
        _matrices("b", b, "K")
        ready = rules.row_scales("a scales", sfa, m, k, sfa_aligned, a[0][:-2])
        rules.block_scales("b scales", sfb, n, k, (groups,))
        return self.problem(groups, m, n, k, ready)


def _output(d: Layout, problem: Problem) -> None:
    rules.dtype("d", d[2], rules.BF16)
    if d[0] != problem.d_shape:
        raise ValueError(f"d: expected shape {problem.d_shape}, got {d[0]}")
    _matrices("d", d, "N")


def _rank(name: str, shape: tuple[int, ...], rank: int, axes: str) -> None:
    if len(shape) != rank:
        raise ValueError(f"{name}: expected {rank} dimensions {axes}, got {len(shape)}, shape {shape}")
    if max(shape) >= rules.MAX_DIM:
        raise ValueError(f"{name}: sizes must be below 2^31, got shape {shape}")


def sizes(groups: int, n: int, k: int) -> None:
    """Refuse groups that no kernel can be built for."""
    if groups > MAX_GROUPS:
        raise ValueError(f"b: at most {MAX_GROUPS} groups, got {groups}")
    rules.columns(n)
    if k % 16 or not k:
        raise ValueError(f"a and b: K must be a positive multiple of 16, got K={k}; pad both with zeros")


def _matrices(name: str, layout: Layout, inner: str) -> None:
    """Refuse what the tensor map of a tall matrix cannot describe; `layout` is one matrix, or one for each group."""
    shape, strides, dtype = layout
    rules.rows(name, (shape[-2:], strides[-2:], dtype), inner)
    if len(shape) == 2 or 0 in shape or shape[0] == 1:
        return
    (groups, rows, width), (group_stride, row_stride, _) = shape, strides
    if rows == 1:
        rules.rows(name, ((groups, width), (group_stride, strides[2]), dtype), inner)
        return
    if group_stride % row_stride or group_stride < 0:
        raise ValueError(
            f"{name}: the groups' stride must be a multiple of the rows', {row_stride} elements, got {group_stride}"
        )
    if name == "d" and group_stride < (rows - 1) * row_stride + width:
        raise ValueError(f"d: groups overlap, their stride is {group_stride} elements for {rows} rows of {row_stride}")
    if (groups - 1) * (group_stride // row_stride) + rows >= rules.MAX_DIM:
        raise ValueError(f"{name}: rows of all groups must be below 2^31, got strides {strides} of shape {shape}")


def _layout(name: str, layout: View, grouping: Grouping, problem: Problem) -> None:
    """Refuse what cannot be the int32 array that tells the device which rows a group has."""
    lengths = {
        Grouping.CONTIGUOUS: (problem.m, f"one per row of a, M={problem.m}"),
        Grouping.OFFSETS: (problem.groups + 1, f"the first row of each of G={problem.groups} groups and the end"),
    }
    length, meaning = lengths.get(grouping, (problem.groups, f"one per group, G={problem.groups}"))
    if layout.dtype != "int32":
        raise TypeError(f"{name}: expected int32, got {layout.dtype}")
    if layout.shape != (length,):
        raise ValueError(f"{name}: expected shape {(length,)} ({meaning}), got {layout.shape}")
    if length > 1 and layout.strides != (1,):
        raise ValueError(f"{name}: must be contiguous (stride 1), got strides {layout.strides}")
