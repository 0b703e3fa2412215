"""Refusals of arrays that the expert kernels cannot take, before anything is launched or allocated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvgemm.choice import rules
from nvgemm.choice.pointers import aligned, apart
from nvgemm.choice.problem import TMA_BYTES
from nvgemm.moe.routing import Routing
from nvgemm.runtime.array_view import contiguous
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.dtypes import itemsize

_ROWS = ("float32", "float16", "bfloat16", "uint16", "float8_e4m3fn", "uint8")  # uint16 are BF16's bits, uint8 E4M3's


def routing_views(routing: Any) -> tuple[ArrayView, ArrayView]:
    """Views of ``token_of_row`` and ``row_of_slot``."""
    if not isinstance(routing, Routing):
        raise TypeError(f"routing: expected what nvgemm.moe.route returns, got {type(routing).__name__}")
    token_of_row = packed("routing.token_of_row", routing.token_of_row, ("int32",))
    row_of_slot = packed("routing.row_of_slot", routing.row_of_slot, ("int32",))
    if token_of_row.shape != (routing.rows,) or len(row_of_slot.shape) != 2:
        shapes = f"{token_of_row.shape} and {row_of_slot.shape}"
        raise ValueError(
            f"routing: expected token_of_row [rows] with {routing.rows} rows, row_of_slot [T, top_k], got {shapes}"
        )
    return token_of_row, row_of_slot


def packed(name: str, x: Any, dtypes: tuple[str, ...]) -> ArrayView:
    """View of a C-contiguous device array of one of `dtypes`."""
    found = view(x, name)
    rules.dtype(name, found.dtype, dtypes)
    steps = zip(found.shape, found.strides, contiguous(found.shape), strict=True)
    if 0 not in found.shape and any(size > 1 and stride != packed for size, stride, packed in steps):
        raise ValueError(
            f"{name}: expected a C-contiguous array, got strides {found.strides} for shape {found.shape}; "
            f"pass a contiguous copy, such as cupy.ascontiguousarray({name})"
        )
    aligned(name, found, itemsize(found.dtype))
    return found


def token_rows(name: str, x: ArrayView, tokens: int) -> None:
    """Rows to be permuted, [T, H]: 16-byte copies need whole units."""
    rules.dtype(name, x.dtype, _ROWS)
    _row_units(name, x)
    if x.shape[0] != tokens:
        raise ValueError(f"{name}: expected {tokens} rows, one for each token of the routing, got shape {x.shape}")


def expert_rows(d: ArrayView, routing: Routing) -> ArrayView:
    """Rows to be combined, as BF16 [rows, H]; masked ones come as [G, max_m, H]."""
    rules.dtype("d", d.dtype, rules.BF16)
    if routing.max_m is not None:
        d = _one_matrix(d, routing.num_experts, routing.max_m)
    _row_units("d", d)
    if d.shape[0] != routing.rows:
        raise ValueError(f"d: expected [rows, H] with the routing's {routing.rows} rows, got shape {d.shape}")
    return d


def output(out: ArrayView, tokens: int, columns: int, inputs: Mapping[str, ArrayView]) -> None:
    """Where `combine` writes: BF16 [T, H] that no input shares."""
    rules.dtype("out", out.dtype, rules.BF16)
    if out.shape != (tokens, columns):
        raise ValueError(f"out: expected shape {(tokens, columns)} for T={tokens}, H={columns}, got {out.shape}")
    _row_units("out", out)
    if out.readonly:
        raise ValueError("out: the array is read-only")
    apart("out", out, inputs.items())


def _row_units(name: str, x: ArrayView) -> None:
    rules.rank(name, x.shape, "[rows, H]")
    size = itemsize(x.dtype)
    if x.shape[1] * size % TMA_BYTES:
        raise ValueError(
            f"{name}: rows must be whole units of {TMA_BYTES} bytes, got H={x.shape[1]}, "
            f"{x.shape[1] * size} bytes of {x.dtype}"
        )
    rules.rows(name, (x.shape, x.strides, x.dtype), "H", tma=False)
    if x.shape[0] > 1 and x.strides[0] * size % TMA_BYTES:
        raise ValueError(
            f"{name}: row stride {x.strides[0]} elements is {x.strides[0] * size} bytes, "
            f"not a multiple of {TMA_BYTES}; 16-byte copies need it"
        )
    aligned(name, x, TMA_BYTES)


def _one_matrix(d: ArrayView, groups: int, max_m: int) -> ArrayView:
    """[G, max_m, H] as [G · max_m, H]."""
    if len(d.shape) != 3 or d.shape[:2] != (groups, max_m):
        raise ValueError(f"d: expected [G, max_m, H] with G={groups}, max_m={max_m}, got shape {d.shape}")
    row = d.strides[1] if max_m > 1 else d.strides[0]
    if groups > 1 and d.strides[0] != max_m * row:
        raise ValueError(f"d: experts must follow each other without a gap, got strides {d.strides} for {d.shape}")
    return d._replace(shape=(groups * max_m, d.shape[2]), strides=(row, d.strides[2]))
