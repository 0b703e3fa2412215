"""Dense products. `fp8_gemm_nt` is the straight line: admit the operands, prepare the kernel, launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvgemm import settings
from nvgemm.choice import checks
from nvgemm.choice.pointers import NAMES
from nvgemm.product import Check, Prepared, admit, dense, prepare
from nvgemm.remembered import Known, Objects, remember
from nvgemm.runtime import overlap, sm_limit, streams
from nvgemm.runtime.arrays import fingerprint, views

# Calls whose operands passed every check before, by the fingerprints of these, and by themselves.
_known: dict[tuple[object, ...], Known] = {}
_objects = Objects()


def fp8_gemm_nt(
    a: tuple[Any, Any],
    b: tuple[Any, Any],
    d: Any = None,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Any:
    """Multiply: ``d[m, n] = Σ_k a[m, k]·sfa[m, k//128] · b[n, k]·sfb[n//128, k//128]``.

    The tensor core sums 128 of K in its own limited precision; these partial sums are scaled and added in FP32
    (two-level accumulation: DeepSeek-V3 technical report, section 3.3.2) and rounded to BF16 once.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [M, K], K contiguous, and FP32 [M, ceil(K/128)]. Scales lie fastest MN-major with the row count padded
        to a multiple of 4, as `per_token_cast_to_fp8` makes them; other layouts are transposed on the device.
    b : (data, scales)
        FP8 E4M3 [N, K], K contiguous, and FP32 [ceil(N/128), ceil(K/128)], any strides.
    d : device array, optional
        BF16 [M, N], N contiguous; rows may be strided by a multiple of 16 bytes. Allocated from the library of `a`'s
        data, in the order of the launch stream, where it is not given.
    recipe : (int, int, int)
        ``(1, 128, 128)``: rows of A, rows of B, and elements of K to a scale.
    stream : int or stream object, optional
        Default: the current stream of the library that `a`'s data belongs to.
    num_sms : int, optional
        SMs to take at most, 1 to the device's; odd numbers too. Default: what `set_num_sms` set, else all.
    pdl : bool, optional
        Begin before the kernel before this one in the stream has ended, if that one lets it, and wait for it before
        anything is read or written that it may write or read. Default: what `set_pdl` set, else False.
    weights_static : bool
        Promise that no kernel that may still run writes `b`: then a call with PDL reads it at once.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError
        The device is no Hopper GPU, the kernel cannot be built, or the driver refuses it.
    RuntimeError
        The stream captures a graph, and this call would have to compile, load or allocate.

    Notes
    -----
    Any M ≥ 0, N a multiple of 8, K a multiple of 16. M = 0 or N = 0 does nothing, K = 0 gives zeros. NaN and infinity
    go through as IEEE 754 says. The same inputs and configuration give the same bits.
    """
    num_sms = sm_limit.limit if num_sms is None else sm_limit.check(num_sms)
    how = overlap.of(pdl, weights_static)
    if recipe is not checks.RECIPE_1D2D:
        recipe = checks.recipe_of(recipe)
    said = (recipe, settings.sass, num_sms, how)
    known = _objects.find(a, b, d, said)
    if known is None:
        fields = fingerprint(a, b, d)
        is_cupy = fields is not None
        if fields is None and d is not None:
            fields = views(checks.operands(a, b, d), NAMES)
        known = _known.get((fields, said))
        if known is None:
            prepared, result = _launch(checks.operands(a, b, d), dense(recipe, how), stream, num_sms)
            if fields is not None:
                remember(_known, (fields, said), prepared, d)
            return result
        if is_cupy:
            _objects.keep(a, b, d, said, known)
    made = known.launch(known.current() if stream is None else streams.handle(stream))
    return made if d is None else d


def _launch(objects: Sequence[Any], check: Check, stream: Any, num_sms: int | None) -> tuple[Prepared, Any]:
    """The straight line, step by step; what was launched, and D."""
    problem, operands, handle, d = admit(objects, check, stream, num_sms)
    prepared = prepare(problem, operands, handle, num_sms, stacklevel=4)
    prepared.launch(handle)
    return prepared, d
