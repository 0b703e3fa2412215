"""How many rows a routing needs, from what the host knows; the refusals of everything that is no array."""

from __future__ import annotations

from typing import NamedTuple

from nvgemm.choice import rules
from nvgemm.choice.alignment import get_mk_alignment_for_contiguous_layout
from nvgemm.choice.problem import align

KINDS = ("offsets", "contiguous", "masked")  # LAYOUT in kernels_cu/route.cuh is the index
MAX_EXPERTS = 1024
MAX_TOP_K = 32  # a warp holds the rows of one token's slots
MAX_SLOTS = 2**24
_MAX_ROWS = 2**31  # rows are signed 32-bit integers on the device


class Capacity(NamedTuple):
    """Rows of one routing.

    Attributes
    ----------
    rows : int
        Rows that results need, with or without a token.
    kind : str
        One of `KINDS`.
    num_experts : int
        G.
    alignment : int
        Rows that each expert's segment is padded to a multiple of: 1 but for "contiguous".
    max_m : int or None
        Rows of each expert: "masked" alone.
    """

    rows: int
    kind: str
    num_experts: int
    alignment: int
    max_m: int | None

    @property
    def layout_size(self) -> int:
        """Elements of `Routing.layout`."""
        return {"offsets": self.num_experts + 1, "contiguous": self.rows, "masked": self.num_experts}[self.kind]


def capacity(
    shape: tuple[int, ...], num_experts: int, layout: str, alignment: int | None, max_m: int | None
) -> Capacity:
    """Check the arguments of `route` for expert ids of `shape`, and count the rows."""
    slots = _slots(shape)
    num_experts = rules.integer("num_experts", num_experts)
    if not 1 <= num_experts <= MAX_EXPERTS:
        raise ValueError(f"num_experts: expected 1 to {MAX_EXPERTS}, got {num_experts}")
    if layout not in KINDS:
        raise ValueError(f"layout: expected 'offsets', 'contiguous' or 'masked', got {layout!r}")
    if alignment is not None and layout != "contiguous":
        raise ValueError(f"alignment: only layout='contiguous' has one, got alignment={alignment!r} for {layout!r}")
    if max_m is not None and layout != "masked":
        raise ValueError(f"max_m: only layout='masked' has one, got max_m={max_m!r} for {layout!r}")
    rows, unit = slots, 1
    if layout == "contiguous":
        unit = _alignment(alignment)
        rows = align(slots + min(num_experts, slots) * (unit - 1), unit)
    elif layout == "masked":
        max_m = _max_m(max_m)
        rows = num_experts * max_m
    if rows >= _MAX_ROWS:
        raise ValueError(f"layout: {layout!r} needs {rows} rows here, and they must be below 2^31")
    return Capacity(rows, layout, num_experts, unit, max_m)


def _slots(shape: tuple[int, ...]) -> int:
    if len(shape) != 2:
        raise ValueError(f"topk_ids: expected a matrix [T, top_k], got {len(shape)} dimensions, shape {shape}")
    tokens, top_k = shape
    if not 1 <= top_k <= MAX_TOP_K:
        raise ValueError(f"topk_ids: top_k must be 1 to {MAX_TOP_K}, got top_k={top_k} in shape {shape}")
    if tokens * top_k > MAX_SLOTS:
        raise ValueError(f"topk_ids: T·top_k must be at most 2^24, got {tokens * top_k} in shape {shape}")
    return tokens * top_k


def _alignment(alignment: int | None) -> int:
    if alignment is None:
        return get_mk_alignment_for_contiguous_layout()
    alignment = rules.integer("alignment", alignment)
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"alignment: expected a power of two such as 128, got {alignment}")
    return alignment


def _max_m(max_m: int | None) -> int:
    if max_m is None:
        raise ValueError("max_m: layout='masked' needs it, the rows of each expert")
    max_m = rules.integer("max_m", max_m)
    if max_m < 1:
        raise ValueError(f"max_m: expected at least 1 row for each expert, got {max_m}")
    return max_m
