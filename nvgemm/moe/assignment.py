"""Expert ids to rows, in at most two launches: count the slots of each chunk, then place them."""

from __future__ import annotations

import math
from ctypes import c_uint32, c_void_p
from typing import Any, NamedTuple

from nvgemm.choice.problem import align, ceil_div
from nvgemm.moe.arguments import packed
from nvgemm.moe.capacity import KINDS, Capacity, capacity
from nvgemm.moe.routing import Routing
from nvgemm.quantize.launch import Launch
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.memory import empty, scratch, scratch_lock
from nvgemm.runtime.streams import resolve

_ID_BYTES = {"int32": 4, "int64": 8}
_ONE_CTA_ROUNDS, _ONE_CTA_ROWS = 4, 1 << 14  # a CTA alone takes no longer than a second launch would
_MAX_CHUNKS = 256
_CLEARED_ROWS, _MOST_CLEARING = 4096, 1024  # rows to a CTA that does nothing else, and such CTAs


def route(
    topk_ids: Any,
    num_experts: int,
    *,
    layout: str = "offsets",
    alignment: int | None = None,
    max_m: int | None = None,
    stream: Any = None,
) -> Routing:
    """Give each token's choices their rows in the operand of a grouped product.

    Parameters
    ----------
    topk_ids : device array, [T, top_k]
        int32 or int64, C-contiguous: the experts of each token. An id outside 0 … G − 1, such as −1, drops its slot.
        ``top_k ≤ 32``, ``T · top_k ≤ 2^24``.
    num_experts : int
        G, 1 to 1024.
    layout : str
        "offsets": experts' rows follow each other without a gap, for `m_grouped_fp8_gemm_nt_offsets`.
        "contiguous": each expert's rows start at a multiple of `alignment`, for `m_grouped_fp8_gemm_nt_contiguous`.
        "masked": each expert has `max_m` rows, for `m_grouped_fp8_gemm_nt_masked`; slots beyond them are dropped.
    alignment : int, optional
        A power of two; "contiguous" alone. Default: ``get_mk_alignment_for_contiguous_layout()``.
    max_m : int, optional
        Rows of each expert; "masked" alone, which needs it.
    stream : int or stream object, optional
        Default: the current stream of the library that `topk_ids` belongs to.

    Returns
    -------
    Routing
        From the library of `topk_ids`. Rows: "offsets" ``T·top_k``; "contiguous"
        ``T·top_k + min(G, T·top_k)·(alignment − 1)`` padded to a multiple of the alignment, enough for every outcome,
        since the host does not wait for one; "masked" ``G · max_m``.

    Raises
    ------
    TypeError, ValueError
        An argument cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, a kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.

    Notes
    -----
    An expert's rows follow the order of tokens, then of a token's slots: the same ids give the same routing.
    """
    ids = packed("topk_ids", topk_ids, tuple(_ID_BYTES))
    needed = capacity(ids.shape, num_experts, layout, alignment, max_m)
    handle = resolve(stream, (ids,), (topk_ids,))
    steps = _prepare(ids, needed, handle)
    arrays = [
        empty(topk_ids, ids, shape, "int32", handle) for shape in ((needed.layout_size,), (needed.rows,), ids.shape)
    ]
    _launch(steps, ids, needed, [view(array, "result").ptr for array in arrays])
    described, token_of_row, row_of_slot = arrays
    return Routing(described, token_of_row, row_of_slot, needed.rows, layout, needed.num_experts, needed.max_m)


class _Steps(NamedTuple):
    """The kernels and their sizes; `counting` is None where one CTA does it all."""

    counting: Launch | None
    placing: Launch
    threads: int
    chunk: int  # slots of a CTA
    chunks: int


def _prepare(ids: ArrayView, needed: Capacity, stream: int) -> _Steps:
    slots = math.prod(ids.shape)
    warps = warps_of(needed.num_experts)
    chunk = chunk_of(slots, needed.num_experts, 32 * warps)
    chunks = max(1, ceil_div(slots, chunk))
    constants = {
        "NUM_EXPERTS": needed.num_experts,
        "NUM_WARPS": warps,
        "ID_BYTES": _ID_BYTES[ids.dtype],
        "LAYOUT": KINDS.index(needed.kind),
    }
    alone = chunks == 1 and needed.rows <= _ONE_CTA_ROWS
    counting = None if alone else Launch("route_count", constants, ids.device, stream)
    return _Steps(counting, Launch("route_place", constants, ids.device, stream), 32 * warps, chunk, chunks)


def warps_of(num_experts: int) -> int:
    """Warps of a CTA: each has a counter for every expert, and static shared memory ends at 48 KiB."""
    return 16 if num_experts <= 512 else 8


def chunk_of(slots: int, num_experts: int, threads: int) -> int:
    """Slots of a CTA, a multiple of its threads.

    Each CTA reads the counts of all chunks and goes through its own slots twice. With 64 bytes a clock for the one and
    1.5 clocks a slot for the other, ``√(24 · slots / G)`` chunks have the least sum; 16 favours fewer CTAs.
    """
    if slots <= _ONE_CTA_ROUNDS * threads:
        return _ONE_CTA_ROUNDS * threads
    chunks = min(math.isqrt(16 * slots // num_experts) or 1, _MAX_CHUNKS)
    return align(ceil_div(slots, chunks), threads)


def _launch(steps: _Steps, ids: ArrayView, needed: Capacity, targets: list[int]) -> None:
    """`targets` are the pointers of layout, token_of_row and row_of_slot."""
    layout, token_of_row, row_of_slot = map(c_void_p, targets)
    slots, chunk, chunks = c_uint32(math.prod(ids.shape)), c_uint32(steps.chunk), c_uint32(steps.chunks)
    rows, top_k = c_uint32(needed.rows), c_uint32(ids.shape[1])
    paddings = c_uint32(needed.alignment), c_uint32(needed.max_m or 0)
    source, stream = c_void_p(ids.ptr), steps.placing.stream
    with scratch_lock:
        counts = c_void_p()
        if steps.counting is not None:
            counts = c_void_p(scratch(ids.device, stream, 4 * steps.chunks * needed.num_experts))
            grid = max(steps.chunks, min(ceil_div(needed.rows, _CLEARED_ROWS), _MOST_CLEARING))
            steps.counting(grid, steps.threads, source, counts, layout, token_of_row, slots, chunk, chunks, rows)
        arguments = (source, counts, layout, token_of_row, row_of_slot, slots, chunk, chunks, rows, top_k, *paddings)
        steps.placing(steps.chunks, steps.threads, *arguments)
