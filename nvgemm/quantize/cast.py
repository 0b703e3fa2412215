"""FP32, FP16 and BF16 matrices to E4M3 with one scale for each 1×128 or 128×128 elements."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64, c_void_p
from typing import Any

from nvgemm.choice import checks, rules
from nvgemm.choice.problem import GRANULARITY, ceil_div, sfa_stride
from nvgemm.quantize.launch import Launch
from nvgemm.quantize.quantized import Quantized
from nvgemm.runtime.arrays import ArrayView, view
from nvgemm.runtime.memory import empty, empty_scales
from nvgemm.runtime.streams import resolve

_INPUT_DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}  # INPUT_DTYPE in kernels_cu/cast.cuh
_TOKEN_THREADS, _BLOCK_THREADS = 128, 512  # NUM_THREADS of the kernels
_TOKEN_WARP_ROWS = 8


def per_token_cast_to_fp8(x: Any, *, use_ue8m0: bool = False, stream: Any = None) -> Quantized:
    """Quantise activations: one scale for each row and 128 of K.

    With ``amax = max(|x|, 1e-4)`` over a block, ``scale = amax / 448`` and ``data = round(x · (448 / amax))`` in FP32,
    to nearest even, saturating, as users of DeepGEMM expect. The function of the same name in `nvgemm.reference` gives
    the same bits.

    Parameters
    ----------
    x : device array, [M, K]
        FP32, FP16 or BF16; K contiguous and a multiple of 16, any row stride. Fastest where rows start on 16 bytes.
    use_ue8m0 : bool
        Round each scale up to a power of two.
    stream : int or stream object, optional
        Default: the current stream of the library that `x` belongs to.

    Returns
    -------
    Quantized
        From the library of `x`. data E4M3 [M, K], C-contiguous; scales FP32 [M, ceil(K/128)], MN-major with strides
        ``(1, align(M, 4))``, zero between its columns.

    Raises
    ------
    TypeError, ValueError
        `x` is no such array.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.

    Notes
    -----
    A NaN becomes the code 0x7F and leaves its block's scale alone. An infinity makes its block's scale infinite, its
    own code NaN, and the other codes zero: dequantised, the whole block is NaN.
    """
    source = view(x, "x")
    m, k = checks.per_token(source)
    grid = ceil_div(ceil_div(m, _TOKEN_WARP_ROWS) * ceil_div(k, GRANULARITY), _TOKEN_THREADS // 32)
    launch = _prepare("per_token_cast", source, k, use_ue8m0, x, stream)
    data = empty(x, source, (m, k), "float8_e4m3fn", launch.stream)
    scales = empty_scales(x, source, (m, ceil_div(k, GRANULARITY)), launch.stream)
    targets = (c_void_p(view(data, "data").ptr), c_void_p(view(scales, "scales").ptr))
    strides = (c_uint64(_row_bytes(source)), c_uint64(sfa_stride(m)))
    launch(grid, _TOKEN_THREADS, c_void_p(source.ptr), *targets, *strides, c_uint32(m), c_uint32(k))
    return Quantized(data, scales)


def per_block_cast_to_fp8(x: Any, *, use_ue8m0: bool = False, stream: Any = None) -> Quantized:
    """Quantise weights: one scale for each 128×128 block, the last ones of a side smaller.

    The arithmetic of a block, NaN and infinities included, is that of `per_token_cast_to_fp8`.

    Parameters
    ----------
    x : device array, [N, K]
        FP32, FP16 or BF16; K contiguous and a multiple of 16, any row stride. The product needs N % 8 == 0.
    use_ue8m0 : bool
        Round each scale up to a power of two.
    stream : int or stream object, optional
        Default: the current stream of the library that `x` belongs to.

    Returns
    -------
    Quantized
        From the library of `x`. data E4M3 [N, K], C-contiguous; scales FP32 [ceil(N/128), ceil(K/128)], C-contiguous.

    Raises
    ------
    TypeError, ValueError
        `x` is no such array.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to load or allocate.
    """
    source = view(x, "x")
    n, k = checks.per_block(source)
    blocks = ceil_div(n, GRANULARITY), ceil_div(k, GRANULARITY)
    launch = _prepare("per_block_cast", source, k, use_ue8m0, x, stream)
    data = empty(x, source, (n, k), "float8_e4m3fn", launch.stream)
    scales = empty(x, source, blocks, "float32", launch.stream)
    targets = (c_void_p(view(data, "data").ptr), c_void_p(view(scales, "scales").ptr))
    arguments = (c_void_p(source.ptr), *targets, c_uint64(_row_bytes(source)), c_uint32(n), c_uint32(k))
    launch(blocks[0] * blocks[1], _BLOCK_THREADS, *arguments)
    return Quantized(data, scales)


def _prepare(name: str, source: ArrayView, k: int, use_ue8m0: bool, x: Any, stream: Any) -> Launch:
    """Kernel for this input; refuses what cannot become an operand."""
    if k % 16:
        raise ValueError(f"x: K must be a multiple of 16, as in the product, got K={k}; pad x with columns of zeros")
    constants = {
        "INPUT_DTYPE": _INPUT_DTYPES[source.dtype],
        "LOAD_BYTES": _load_bytes(source),
        "POWER_OF_TWO": bool(use_ue8m0),
    }
    return Launch(name, constants, source.device, resolve(stream, (source,), (x,)))


def _row_bytes(x: ArrayView) -> int:
    return x.strides[0] * rules.ITEMSIZE[x.dtype]


def _load_bytes(x: ArrayView) -> int:
    """Widest load, at most 16 bytes, that the pointer and the start of every row are multiples of."""
    odds = 16 | x.ptr | (_row_bytes(x) if x.shape[0] > 1 else 0)
    return odds & -odds
