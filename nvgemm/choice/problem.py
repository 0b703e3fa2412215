"""A product as integers, and the layout facts that checks, configuration, tensor maps and quantisers share."""

from __future__ import annotations

import math
from enum import IntEnum
from typing import NamedTuple, Protocol

GRANULARITY = 128  # of K for each scale; also rows of B for each scale of recipe 1D2D
TMA_BYTES = 16  # base pointers and row strides of everything that TMA moves are multiples of this


class View(Protocol):
    """What the checks read of an operand; `nvgemm.ArrayView` is one. Strides count elements."""

    @property
    def ptr(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def device(self) -> int: ...


class Grouping(IntEnum):
    """How one launch holds the products of several groups; the constants of kernels_cu/grouping.cuh."""

    DENSE = 0
    BATCHED = 1
    MASKED = 2
    OFFSETS = 3
    PSUM = 4
    CONTIGUOUS = 5

    @property
    def own_rows(self) -> bool:
        """A and D are ``[G, M, ·]``, else ``[M, ·]`` with the rows of all groups."""
        return self in (Grouping.BATCHED, Grouping.MASKED)

    @property
    def on_device(self) -> bool:
        """Only the device knows how many rows a group has, and so how many tiles there are."""
        return self in (Grouping.MASKED, Grouping.OFFSETS, Grouping.PSUM)


class Overlap(IntEnum):
    """Whether a launch begins before the kernel before it has ended; the constants of kernels_cu/overlap.cuh."""

    ALONE = 0
    OVERLAPPED = 1
    STATIC_WEIGHTS = 2


class Problem(NamedTuple):
    """One product ``D[M, N] = A[M, K] · B[N, K]ᵀ``, or one for each group.

    Attributes
    ----------
    m, n, k : int
        Sizes; any of them can be 0. M counts the rows of A: all groups' together, or those that each can have
        (`Grouping.own_rows`).
    sfa_mn_major : bool
        A's scales lie MN-major, padded and aligned, so that TMA reads them as they are.
        False: they must first be transposed on the device into strides ``(1, sfa_stride(m))``.
    grouping : Grouping
    groups : int
        Matrices B.
    alignment : int
        Of the rows at which groups begin, where the grouping has one.
    expected_m : int
        Rows that a group is expected to have; it steers the choice of a kernel alone. 0 stands for M of one product.
    overlap : Overlap
    """

    m: int
    n: int
    k: int
    sfa_mn_major: bool
    grouping: Grouping = Grouping.DENSE
    groups: int = 1
    alignment: int = 1
    expected_m: int = 0
    overlap: Overlap = Overlap.ALONE

    @property
    def group_rows(self) -> int:
        """Rows that a group is expected to have."""
        return self.expected_m or self.m

    def tiles(self, block_m: int, block_n: int) -> int:
        """Tiles of all groups, if each has the rows that are expected."""
        return self.groups * ceil_div(self.group_rows, block_m) * ceil_div(self.n, block_n)

    @property
    def d_shape(self) -> tuple[int, ...]:
        return (self.groups, self.m, self.n) if self.grouping.own_rows else (self.m, self.n)


def ceil_div(x: int, y: int) -> int:
    """Smallest integer not below ``x / y``."""
    return -(-x // y)


def align(x: int, y: int) -> int:
    """Smallest multiple of `y` not below `x`."""
    return -(-x // y) * y


def tma_aligned_size(x: int, element_size: int) -> int:
    """Elements that `x` of them, `element_size` bytes each, take when padded to whole 16-byte units."""
    return align(x, TMA_BYTES // element_size)


def traffic_bytes(m: int, n: int, k: int) -> int:
    """Least bytes of a product without its scales: FP8 operands read once, the BF16 result written once."""
    return m * k + n * k + 2 * m * n


def traffic_bytes_with_scales(m: int, n: int, k: int) -> int:
    """Least bytes of a product: `traffic_bytes`, and the FP32 scales of A read once; those of B are a few."""
    return traffic_bytes(m, n, k) + 4 * m * ceil_div(k, GRANULARITY)


def sfa_stride(m: int) -> int:
    """Elements from one 128 of K to the next in A's scales of `m` rows, MN-major: `m` padded to a multiple of 4."""
    return tma_aligned_size(m, 4)


def sfa_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of A's scales ``[M, ceil(K/128)]`` as TMA reads them; those of groups lie one after the other."""
    m, k_blocks = shape[-2:]
    return (k_blocks * sfa_stride(m), 1, sfa_stride(m))[-len(shape) :]


def scales_bytes(shape: tuple[int, ...]) -> int:
    """Bytes that A's scales of this shape, ``[M, ceil(K/128)]`` or one of them for each group, take MN-major."""
    return 4 * math.prod(shape[:-2]) * sfa_stride(shape[-2]) * shape[-1]


def row_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Row stride, in elements, to give to a tensor map of a checked `A`, `B` or `D`.

    A matrix of one row has no row stride, and its producer may report any number; its width stands in,
    which the checks have found to be a multiple of 16 bytes.
    """
    return strides[0] if shape[0] > 1 else shape[1]


def k_block_stride(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from one 128 of K to the next in checked MN-major scales ``[M, ceil(K/128)]``.

    With a single 128 of K there is none, and the padded row count stands in.
    """
    return strides[1] if shape[1] > 1 else sfa_stride(shape[0])
