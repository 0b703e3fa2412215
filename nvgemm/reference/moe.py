"""Routing, permutation and weighted sum of a mixture-of-experts layer in NumPy: the device's integers and bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nvgemm.moe import Routing
from nvgemm.moe.capacity import Capacity, capacity
from nvgemm.quantize import Quantized
from nvgemm.reference.formats import codes, decode_bf16, encode_bf16


def route(
    topk_ids: Any, num_experts: int, *, layout: str = "offsets", alignment: int | None = None, max_m: int | None = None
) -> Routing:
    """Give each token's choices their rows, as `nvgemm.moe.route`.

    Parameters
    ----------
    topk_ids : array_like, [T, top_k]
        Integers, such as int32: the experts of each token; one outside 0 … G − 1 drops its slot.
    num_experts : int
        G.
    layout : str
        "offsets", "contiguous" or "masked".
    alignment : int, optional
        Of contiguous segments. Default: ``get_mk_alignment_for_contiguous_layout()``.
    max_m : int, optional
        Rows of each expert in a masked layout.

    Returns
    -------
    Routing
        Of int32 arrays.

    Raises
    ------
    TypeError, ValueError
        As `nvgemm.moe.route`, but for the dtype.
    """
    ids = np.asarray(topk_ids)
    needed = capacity(ids.shape, num_experts, layout, alignment, max_m)
    experts = ids.reshape(-1)
    slots = np.flatnonzero((experts >= 0) & (experts < num_experts))
    slots = slots[np.argsort(experts[slots], kind="stable")]
    experts = experts[slots].astype(np.int64)
    counts = np.bincount(experts, minlength=num_experts)
    place = np.arange(len(slots)) - _exclusive_sum(counts)[:-1][experts]  # among the expert's own
    kept = place < (needed.max_m or len(slots))
    experts, slots = experts[kept], slots[kept]
    rows = _starts(counts, needed)[experts] + place[kept]

    row_of_slot, token_of_row = np.full(ids.size, -1, np.int32), np.full(needed.rows, -1, np.int32)
    row_of_slot[slots], token_of_row[rows] = rows, slots // ids.shape[1]
    described = _layout(counts, needed, rows, experts)
    return Routing(
        described, token_of_row, row_of_slot.reshape(ids.shape), needed.rows, layout, num_experts, needed.max_m
    )


def _starts(counts: NDArray[Any], needed: Capacity) -> NDArray[Any]:
    if needed.max_m is not None:
        return np.arange(needed.num_experts) * needed.max_m
    return _exclusive_sum(-(-counts // needed.alignment) * needed.alignment)[:-1]


def _exclusive_sum(counts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([[0], np.cumsum(counts)])


def _layout(counts: NDArray[Any], needed: Capacity, rows: NDArray[Any], experts: NDArray[Any]) -> NDArray[np.int32]:
    if needed.kind == "offsets":
        return _exclusive_sum(counts).astype(np.int32)
    if needed.max_m is not None:
        return np.minimum(counts, needed.max_m).astype(np.int32)
    expert_of_row = np.full(needed.rows, -1, np.int32)
    expert_of_row[rows] = experts
    return expert_of_row


def permute(x: Any, routing: Routing) -> Any:
    """Copy each token's row to its rows, as `nvgemm.moe.permute`; rows without a token become zeros.

    Parameters
    ----------
    x : array_like, [T, H], or (data, scales)
        Any dtype; a pair is E4M3 [T, K] with FP32 [T, ceil(K/128)].
    routing : Routing
        As `route` of this module gives it.

    Returns
    -------
    ndarray or Quantized
        [rows, H], or [G, max_m, H] of a masked routing; C-contiguous.

    Raises
    ------
    TypeError
        The data of a pair are not of one byte an element.
    """
    if isinstance(x, (tuple, list)):
        data, scales = x
        return Quantized(_rows(codes(data), routing), _rows(np.asarray(scales, np.float32), routing))
    return _rows(np.asarray(x), routing)


def _rows(x: NDArray[Any], routing: Routing) -> NDArray[Any]:
    made = np.zeros((routing.rows, x.shape[1]), x.dtype)
    taken = np.flatnonzero(routing.token_of_row >= 0)
    made[taken] = x[routing.token_of_row[taken]]
    return made if routing.max_m is None else made.reshape(routing.num_experts, routing.max_m, -1)


def combine(d: Any, routing: Routing, weights: Any) -> NDArray[np.uint16]:
    """Weighted sum of each token's rows, bit for bit as `nvgemm.moe.combine`.

    Parameters
    ----------
    d : array, [rows, H] or [G, max_m, H]
        BF16: uint16 bits, or tagged ``ml_dtypes.bfloat16``.
    routing : Routing
        As `route` of this module gives it.
    weights : array_like, [T, top_k]
        FP32.

    Returns
    -------
    ndarray of uint16, [T, H]
        BF16 bits.
    """
    d = np.asarray(d)
    rows, weights = d.reshape(-1, d.shape[-1]), np.asarray(weights, np.float32)
    sums = np.zeros((len(weights), rows.shape[1]), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for choice in range(weights.shape[1]):
            row = routing.row_of_slot[:, choice]
            kept = np.flatnonzero(row >= 0)
            sums[kept] += weights[kept, choice, None] * decode_bf16(rows[row[kept]])
    return encode_bf16(sums)
