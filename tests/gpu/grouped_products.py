"""Grouped products to test with: operands, every layout of groups, and outputs whose untouched rows are looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from products import POISON, Product, build_all, same_bits, write

import nvgemm
from nvgemm import Array, ArrayView, reference
from nvgemm.choice.grouped_checks import Grouped
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Grouping, Problem, align, ceil_div, sfa_stride
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import model

Kind = Callable[[np.random.Generator, int, int, int], Product]  # products.exact or products.normal
NAN_CODE = 0x7F
GUARD_ROWS, GUARD_LEFT, GUARD_RIGHT = 3, 8, 24  # around D
LAYOUTS = ("contiguous-32", "contiguous-64", "contiguous-128", "psum-32", "psum-128", "offsets", "masked", "batched")


class Arrangement(NamedTuple):
    """Which rows belong to which group, as the oracle sees it, and the call that is told so by `indices`."""

    rows: np.ndarray  # [M] or [G, Mmax]: group, or −1
    indices: np.ndarray  # int32, for the device
    call: Callable[..., Any]  # (a, b, d, indices on the device, **options)
    told: Grouped  # what the call makes of its options


def contiguous(indices: Any, groups: int, alignment: int) -> Arrangement:
    indices = np.asarray(indices, np.int32)

    def call(a: Any, b: Any, d: Any, layout: Any, **options: Any) -> Any:
        return nvgemm.m_grouped_fp8_gemm_nt_contiguous(a, b, d, layout, **{"alignment": alignment, **options})

    return Arrangement(
        reference.rows_of_contiguous(indices, groups, alignment), indices, call, Grouped(Grouping.CONTIGUOUS, alignment)
    )


def psum(ends: Any, m: int, alignment: int) -> Arrangement:
    def call(a: Any, b: Any, d: Any, layout: Any, **options: Any) -> Any:
        options = {"alignment": alignment, "use_psum_layout": True, **options}
        return nvgemm.m_grouped_fp8_gemm_nt_contiguous(a, b, d, layout, **options)

    rows, told = reference.rows_of_psum(ends, m, alignment), Grouped(Grouping.PSUM, alignment)
    return Arrangement(rows, np.asarray(ends, np.int32), call, told)


def offsets(values: Any, m: int) -> Arrangement:
    def call(a: Any, b: Any, d: Any, indices: Any, **options: Any) -> Any:
        return nvgemm.m_grouped_fp8_gemm_nt_offsets(a, b, d, indices, **options)

    rows = reference.rows_of_offsets(values, m)
    return Arrangement(rows, np.asarray(values, np.int32), call, Grouped(Grouping.OFFSETS))


def masked(counts: Any, max_m: int, expected_m: int | None = None) -> Arrangement:
    expected = max(1, int(np.mean(np.clip(counts, 0, max_m)))) if expected_m is None else expected_m

    def call(a: Any, b: Any, d: Any, indices: Any, **options: Any) -> Any:
        return nvgemm.m_grouped_fp8_gemm_nt_masked(a, b, d, indices, expected, **options)

    rows, told = reference.rows_of_masked(counts, max_m), Grouped(Grouping.MASKED, expected_m=expected)
    return Arrangement(rows, np.asarray(counts, np.int32), call, told)


def batched(groups: int, max_m: int) -> Arrangement:
    def call(a: Any, b: Any, d: Any, _: Any, **options: Any) -> Any:
        return nvgemm.batched_fp8_gemm_nt(a, b, d, **options)

    rows = np.arange(groups)[:, None].repeat(max_m, 1)
    return Arrangement(rows, np.zeros(1, np.int32), call, Grouped(Grouping.BATCHED))


def arrange(layout: str, counts: Sequence[int]) -> Arrangement:
    """`counts` rows for the groups in one of `LAYOUTS`, without bad values; "batched" has the most for each."""
    name, _, alignment = layout.partition("-")
    if name in ("contiguous", "psum"):
        rows = int(alignment)
        starts = np.cumsum([0, *(align(count, rows) for count in counts)])
        m = int(starts[-1])
        if name == "psum":
            return psum(starts[:-1] + counts, m, rows)
        indices = np.full(m, -1)
        for group, (start, count) in enumerate(zip(starts, counts, strict=False)):
            indices[start : start + count] = group
        return contiguous(indices, len(counts), rows)
    if name == "offsets":
        return offsets(np.cumsum([0, *counts]), sum(counts))
    return masked(counts, max(*counts, 1)) if name == "masked" else batched(len(counts), max(*counts, 1))


def build(cases: Iterable[tuple[Arrangement, int, int, int]]) -> None:
    """Compile on all cores what these arrangements of so many groups, with these N and K, take."""
    device = model(driver.device(0))
    problems = dict.fromkeys(problem(*case) for case in cases if case[0].rows.size)
    build_all(dict.fromkeys(select_config(each, device) for each in problems))


def problem(arrangement: Arrangement, groups: int, n: int, k: int) -> Problem:
    """The problem that the call poses to nvgemm, of operands that are laid out well."""
    rows, blocks = arrangement.rows.shape, ceil_div(k, 128)
    pitch = sfa_stride(rows[-1])
    views = [
        ArrayView(16, (*rows, k)),
        ArrayView(16, (*rows, blocks), (*(blocks * pitch for _ in rows[:-1]), 1, pitch), "float32"),
        ArrayView(16, (groups, n, k)),
        ArrayView(16, (groups, ceil_div(n, 128), blocks), None, "float32"),
        None,
        ArrayView(16, arrangement.indices.shape, None, "int32"),
    ]
    return arrangement.told.check(views[: len(arrangement.told.names)])


@dataclass(eq=False)
class GroupedProduct:
    """Host operands of one grouped product; what is put on the device stays as long as this object."""

    a: np.ndarray
    sfa: np.ndarray
    b: np.ndarray
    sfb: np.ndarray
    _keep: list[Array] = field(default_factory=list)

    @property
    def n(self) -> int:
        return int(self.b.shape[1])

    def put(self, host: np.ndarray) -> Array:
        self._keep.append(Array.from_numpy(host))
        return self._keep[-1]

    def left(self, sfa: str = "mn") -> tuple[Array, Any]:
        """A and its scales, "mn" or "k" major."""
        return self.put(self.a), self.scales_a() if sfa == "mn" else self.put(self.sfa)

    def right(self) -> tuple[Array, Array]:
        return self.put(self.b), self.put(self.sfb)

    def scales_a(self) -> ArrayView:
        *groups, m, k_blocks = self.sfa.shape
        pitch = sfa_stride(m)
        outer = (k_blocks * pitch,) * len(groups)
        return ArrayView(self.put(self.padded_scales()).ptr, self.sfa.shape, (*outer, 1, pitch), "float32")

    def padded_scales(self) -> np.ndarray:
        """A's scales [K blocks, padded M], or that for each group, NaN in the padding."""
        *groups, m, k_blocks = self.sfa.shape
        padded = np.full((*groups, k_blocks, sfa_stride(m)), np.nan, np.float32)
        padded[..., :m] = self.sfa.swapaxes(-1, -2)
        return padded

    def poison(self, rows: np.ndarray) -> None:
        """NaN into every row of A that is nobody's, and into its scales."""
        self.a[rows < 0], self.sfa[rows < 0] = NAN_CODE, np.nan

    def expected(self, rows: np.ndarray, nobody: int = POISON) -> np.ndarray:
        """BF16 bits of all rows of D, one after the other; right to the last one for operands of `exact`."""
        product = reference.grouped_gemm(self.a, self.sfa, self.b, self.sfb, rows).reshape(rows.size, self.n)
        bits = np.full(product.shape, nobody, np.uint16)
        bits[rows.ravel() >= 0] = reference.encode_bf16(product[rows.ravel() >= 0] + 0.0)
        return bits


def grouped(kind: Kind, rng: np.random.Generator, arrangement: Arrangement, groups: int, n: int, k: int) -> Any:
    """Operands of `kind` for an arrangement, NaN in the rows of nobody."""
    rows, blocks = arrangement.rows, ceil_div(n, 128)
    flat = kind(rng, rows.size, groups * blocks * 128, k)
    product = GroupedProduct(
        flat.a.reshape(*rows.shape, k),
        flat.sfa.reshape(*rows.shape, ceil_div(k, 128)),
        np.ascontiguousarray(flat.b.reshape(groups, blocks * 128, k)[:, :n]),
        flat.sfb.reshape(groups, blocks, ceil_div(k, 128)),
    )
    product.poison(rows)
    return product


class GuardedRows:
    """BF16 D of [M, n] or [G, Mmax, n] inside a larger poisoned buffer; `gap` rows lie between two groups."""

    def __init__(self, shape: tuple[int, ...], n: int, gap: int = 0) -> None:
        *outer, m = shape
        groups = outer[0] if outer else 1
        pitch = GUARD_LEFT + n + GUARD_RIGHT
        self._rows = (GUARD_ROWS + np.arange(groups)[:, None] * (m + gap) + np.arange(m)).ravel()
        self._columns = slice(GUARD_LEFT, GUARD_LEFT + n)
        self._poison = np.full((2 * GUARD_ROWS + groups * (m + gap), pitch), POISON, np.uint16)
        self._buffer = Array.from_numpy(self._poison)
        strides = ((m + gap) * pitch, pitch, 1) if outer else (pitch, 1)
        first = self._buffer.ptr + 2 * (GUARD_ROWS * pitch + GUARD_LEFT)
        self.view = ArrayView(first, (*shape, n), strides, "bfloat16")

    def refill(self) -> None:
        write(self._buffer, self._poison)

    def bits(self, stream: int = 0) -> np.ndarray:
        """Bits of all rows of D, one after the other, once the guard bands have been found untouched."""
        buffer = self._buffer.to_numpy(stream)
        inside = buffer[self._rows, self._columns].copy()
        buffer[self._rows, self._columns] = POISON
        wrong = np.argwhere(buffer != POISON)
        assert not len(wrong), f"{len(wrong)} elements outside of d are written, the first at {wrong[0]} of the buffer"
        return inside


def check(product: GroupedProduct, arrangement: Arrangement, *, sfa: str = "mn", gap: int = 0, **options: Any) -> None:
    """Run it into a guarded D: rows of groups are right bit for bit, all others untouched, or zeros where asked for."""
    d = GuardedRows(arrangement.rows.shape, product.n, gap)
    indices = product.put(arrangement.indices)
    assert arrangement.call(product.left(sfa), product.right(), d.view, indices, **options) is d.view
    same_bits(d.bits(), product.expected(arrangement.rows, 0 if options.get("zero_padding") else POISON))
