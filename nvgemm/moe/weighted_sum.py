"""Experts' results back to their tokens: a weighted sum over each token's slots."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64, c_void_p
from typing import Any

from nvgemm.choice.pointers import one_device
from nvgemm.choice.problem import ceil_div, row_stride
from nvgemm.moe.arguments import expert_rows, output, packed, routing_views
from nvgemm.moe.routing import Routing
from nvgemm.quantize.launch import Launch
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.memory import empty
from nvgemm.runtime.streams import resolve

_THREADS = 128  # NUM_THREADS of kernels_cu/combine.cu
_WARP_COLUMNS = 256


def combine(d: Any, routing: Routing, weights: Any, *, out: Any = None, stream: Any = None) -> Any:
    """Add up each token's results: ``out[t] = Σ_j weights[t, j] · d[row_of_slot[t, j]]``.

    Products and sums are FP32, each rounded, in the order of the slots; the sum is rounded to BF16 once.

    Parameters
    ----------
    d : device array, [rows, H] or [G, max_m, H]
        BF16, what a grouped product of this routing gave; H contiguous and a multiple of 8.
    routing : Routing
        Of T tokens.
    weights : device array, [T, top_k]
        FP32, C-contiguous. Those of dropped slots are not used.
    out : device array, optional
        BF16 [T, H], H contiguous, rows strided by a multiple of 16 bytes. Allocated from the library of `d` where it is
        not given.
    stream : int or stream object, optional
        Default: the current stream of the library that `d` belongs to.

    Returns
    -------
    device array
        `out`, written in the order of the stream. A token whose slots are all dropped gets zeros.

    Raises
    ------
    TypeError, ValueError
        An operand cannot be used, or is of another shape than the routing says; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.
    """
    _, row_of_slot = routing_views(routing)
    tokens, top_k = row_of_slot.shape
    rows = expert_rows(view(d, "d"), routing)
    factors = packed("weights", weights, ("float32",))
    if factors.shape != (tokens, top_k):
        raise ValueError(f"weights: expected shape {(tokens, top_k)}, that of topk_ids, got {factors.shape}")
    columns = rows.shape[1]
    views = {"d": rows, "routing": row_of_slot, "weights": factors}
    objects = [d, routing.row_of_slot, weights]
    if out is not None:
        target = view(out, "out")
        output(target, tokens, columns, views)
        views["out"] = target
        objects.append(out)
    one_device(views.items())
    launch = Launch("combine", {}, rows.device, resolve(stream, tuple(views.values()), objects))
    if out is None:
        out = empty(d, rows, (tokens, columns), "bfloat16", launch.stream)
    _launch(launch, rows, row_of_slot, factors, view(out, "out"))
    return out


def _launch(launch: Launch, d: ArrayView, row_of_slot: ArrayView, weights: ArrayView, out: ArrayView) -> None:
    tokens, top_k = row_of_slot.shape
    columns = d.shape[1]
    pointers = (c_void_p(d.ptr), c_void_p(row_of_slot.ptr), c_void_p(weights.ptr), c_void_p(out.ptr))
    strides = (c_uint64(row_stride(x.shape, x.strides)) for x in (d, out))
    grid = ceil_div(tokens * ceil_div(columns, _WARP_COLUMNS), _THREADS // 32)
    launch(grid, _THREADS, *pointers, *strides, c_uint32(tokens), c_uint32(columns), c_uint32(top_k))
