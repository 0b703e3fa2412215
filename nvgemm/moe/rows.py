"""Tokens' rows, quantised or not, to the rows of their experts."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64, c_void_p
from typing import Any, NamedTuple

from nvgemm.choice import checks, rules
from nvgemm.choice.pointers import one_device
from nvgemm.choice.problem import ceil_div, row_stride, sfa_stride
from nvgemm.moe.arguments import routing_views, token_rows
from nvgemm.moe.routing import Routing
from nvgemm.quantize import Quantized
from nvgemm.quantize.launch import Launch
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.dtypes import itemsize
from nvgemm.runtime.memory import empty, empty_scales
from nvgemm.runtime.streams import resolve

_THREADS = 128  # NUM_THREADS of kernels_cu/permute.cu
_PIECE_BYTES = 2048  # of a row to a warp: its PIECE_UNITS, 16 bytes each
_CTA_K_BLOCKS = 8


def permute(x: Any, routing: Routing, *, stream: Any = None) -> Any:
    """Copy each token's row to the rows that a routing has given its slots.

    Parameters
    ----------
    x : device array, [T, H], or (data, scales)
        FP32, FP16, BF16 or E4M3, H contiguous, rows of whole 16-byte units. A pair, such as a `Quantized`, is E4M3
        [T, K] with FP32 scales [T, ceil(K/128)], either axis contiguous.
    routing : Routing
        Of these T tokens.
    stream : int or stream object, optional
        Default: the current stream of the library that `x` belongs to.

    Returns
    -------
    device array or Quantized
        From the library of `x`, its dtype, [rows, H]; of a masked routing [G, max_m, H]. Scales lie as the grouped
        products read them fastest: [rows, ceil(K/128)] with strides ``(1, align(rows, 4))``, or [G, max_m, ceil(K/128)]
        with strides ``(ceil(K/128) · align(max_m, 4), 1, align(max_m, 4))``.

    Raises
    ------
    TypeError, ValueError
        `x` cannot be used, or the routing is for another number of tokens; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.

    Notes
    -----
    Rows without a token are left as they were allocated, data and scales: of a few tokens there can be a hundred times
    as many of them as of others. No product and no `combine` uses them for a row that has a token.
    """
    token_of_row, row_of_slot = routing_views(routing)
    is_pair = isinstance(x, (tuple, list)) and not hasattr(x, "shape")  # an ArrayView is a tuple, too
    objects = checks.pair(x, "x") if is_pair else (x,)
    data = view(objects[0], "x")
    token_rows("x", data, row_of_slot.shape[0])
    scales = _scales(objects[1], data) if len(objects) == 2 else None
    views = {"x": data, "routing": row_of_slot, **({} if scales is None else {"x scales": scales})}
    one_device(views.items())
    handle = resolve(stream, tuple(views.values()), (objects[0], routing.row_of_slot, *objects[1:]))
    launch = Launch("permute", {"HAS_SCALES": scales is not None}, data.device, handle)

    shape = _groups(routing)
    made = empty(objects[0], data, (*shape, data.shape[1]), data.dtype, handle)
    copy = _copy(data, view(made, "result"), row_of_slot)
    if scales is None:
        launch(copy.ctas, _THREADS, *copy.arguments, *_no_scales())
        return made
    made_scales = empty_scales(objects[0], data, (*shape, scales.shape[1]), handle)
    gather = _gather(scales, view(made_scales, "result"), token_of_row, shape[-1])
    launch(copy.ctas + gather.ctas, _THREADS, *copy.arguments, *gather.arguments)
    return Quantized(made, made_scales)


def _scales(x: Any, data: ArrayView) -> ArrayView:
    rules.dtype("x", data.dtype, rules.FP8)
    found = view(x, "x scales")
    checks.scales(found, "x scales", mn=data.shape[0], k=data.shape[1])
    return found


def _groups(routing: Routing) -> tuple[int, ...]:
    return (routing.rows,) if routing.max_m is None else (routing.num_experts, routing.max_m)


class _Part(NamedTuple):
    """CTAs and arguments of one of the kernel's two tasks."""

    ctas: int
    arguments: tuple[Any, ...]


def _copy(x: ArrayView, target: ArrayView, row_of_slot: ArrayView) -> _Part:
    (tokens, width), top_k, size = x.shape, row_of_slot.shape[1], itemsize(x.dtype)
    ctas = ceil_div(tokens * ceil_div(width * size, _PIECE_BYTES), _THREADS // 32)
    pointers = (c_void_p(x.ptr), c_void_p(target.ptr), c_void_p(row_of_slot.ptr))
    pitch = c_uint64(row_stride(x.shape, x.strides) * size)
    return _Part(ctas, (*pointers, pitch, *map(c_uint32, (width * size, tokens, top_k, ctas))))


def _gather(scales: ArrayView, target: ArrayView, token_of_row: ArrayView, group_rows: int) -> _Part:
    (tokens, k_blocks), (rows,) = scales.shape, token_of_row.shape
    ctas = ceil_div(rows, _THREADS) * ceil_div(k_blocks, _CTA_K_BLOCKS) if tokens else 0
    pointers = (c_void_p(scales.ptr), c_void_p(target.ptr), c_void_p(token_of_row.ptr))
    strides = map(c_uint64, (*scales.strides, sfa_stride(group_rows)))
    return _Part(ctas, (*pointers, *strides, *map(c_uint32, (k_blocks, rows, max(group_rows, 1)))))


def _no_scales() -> tuple[Any, ...]:
    return (c_void_p(), c_void_p(), c_void_p(), *map(c_uint64, (0, 0, 0)), *map(c_uint32, (0, 0, 1)))
