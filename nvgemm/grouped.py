"""Products of several groups in one launch, as mixtures of experts need them: each group's rows of A with its own B."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nvgemm import settings
from nvgemm.choice import alignment as alignments
from nvgemm.choice import checks, rules
from nvgemm.choice.grouped_checks import Grouped
from nvgemm.choice.problem import Grouping
from nvgemm.padding import zero_padding as zero
from nvgemm.product import admit, prepare
from nvgemm.remembered import Known, remember
from nvgemm.runtime import overlap, sm_limit, streams
from nvgemm.runtime.arrays import fingerprint, views

Pair = tuple[Any, Any]

# Calls whose operands passed every check before, by their fingerprints.
_known: dict[tuple[object, ...], Known] = {}


def m_grouped_fp8_gemm_nt_contiguous(
    a: Pair,
    b: Pair,
    d: Any,
    grouped_layout: Any,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    use_psum_layout: bool = False,
    zero_padding: bool = False,
    alignment: int | None = None,
    expected_m: int | None = None,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Any:
    """Multiply rows of one tall A by the B of the group that they belong to; groups begin at aligned rows.

    ``d[m] = Σ_k a[m, k]·sfa[m, k//128] · b[g, n, k]·sfb[g, n//128, k//128]`` for each row m of group g, with the
    arithmetic of `fp8_gemm_nt`. Rows that belong to nobody are never multiplied.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [M, K] and FP32 [M, ceil(K/128)], as in `fp8_gemm_nt`.
    b : (data, scales)
        FP8 E4M3 [G, N, K] and FP32 [G, ceil(N/128), ceil(K/128)].
    d : device array or None
        BF16 [M, N]; allocated where it is None. Rows of nobody are left as they are.
    grouped_layout : device array
        int32 [M]. Each block of `alignment` rows belongs to the group of its first row; rows of the block with another
        index, such as −1, are nobody's, and so is a block whose first index is no group's.
        With `use_psum_layout`: int32 [G], the end row of each group. A group begins at the next multiple of `alignment`
        from the end before; one that would not end within A has no rows.
    recipe : (int, int, int)
        ``(1, 128, 128)``.
    use_psum_layout : bool
        `grouped_layout` gives the groups' ends.
    zero_padding : bool
        Write zeros to the rows of nobody, by a launch of its own before. DeepGEMM leaves garbage there.
    alignment : int, optional
        32, 64 or 128 rows. Default: `get_mk_alignment_for_contiguous_layout`.
    expected_m : int, optional
        Rows that a group is expected to have; it steers the choice of a kernel alone. Default: M / G.
    stream, num_sms, pdl, weights_static
        As in `fp8_gemm_nt`. Where groups are told on the device, that is waited for before anything else.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As in `fp8_gemm_nt`.
    """
    grouped = Grouped(
        Grouping.PSUM if use_psum_layout else Grouping.CONTIGUOUS,
        alignments.get_mk_alignment_for_contiguous_layout() if alignment is None else alignments.check(alignment),
        _expected(expected_m),
        checks.recipe_of(recipe),
        overlap.of(pdl, weights_static),
    )
    return _launch(grouped, (a, b, d, grouped_layout), stream, num_sms, zero_padding)


def m_grouped_fp8_gemm_nt_masked(
    a: Pair,
    b: Pair,
    d: Any,
    masked_m: Any,
    expected_m: int,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Any:
    """Multiply the first ``masked_m[g]`` rows of each group by its B; the device alone knows how many.

    A launch can be recorded in a CUDA graph and replayed with other counts.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [G, Mmax, K], K contiguous, and FP32 [G, Mmax, ceil(K/128)]; scales lie fastest MN-major in each group,
        with strides ``(·, 1, align(Mmax, 4))``, others are transposed on the device.
    b : (data, scales)
        FP8 E4M3 [G, N, K] and FP32 [G, ceil(N/128), ceil(K/128)].
    d : device array or None
        BF16 [G, Mmax, N]; allocated where it is None. Nothing is written past a group's rows.
    masked_m : device array
        int32 [G]: rows of each group. A count outside 0 … Mmax stands for none.
    expected_m : int
        Rows that a group is expected to have; it steers the choice of a kernel alone.
    recipe : (int, int, int)
        ``(1, 128, 128)``.
    stream, num_sms, pdl, weights_static
        As in `fp8_gemm_nt`. Where groups are told on the device, that is waited for before anything else.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As in `fp8_gemm_nt`.
    """
    grouped = Grouped(
        Grouping.MASKED,
        1,
        rules.positive("expected_m", expected_m),
        checks.recipe_of(recipe),
        overlap.of(pdl, weights_static),
    )
    return _launch(grouped, (a, b, d, masked_m), stream, num_sms)


def m_grouped_fp8_gemm_nt_offsets(
    a: Pair,
    b: Pair,
    d: Any,
    offsets: Any,
    *,
    expected_m: int | None = None,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Any:
    """Multiply rows of one tall A by the B of the group that they belong to, without any padding between groups.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [M, K] and FP32 [M, ceil(K/128)], as in `fp8_gemm_nt`.
    b : (data, scales)
        FP8 E4M3 [G, N, K] and FP32 [G, ceil(N/128), ceil(K/128)].
    d : device array or None
        BF16 [M, N]; allocated where it is None. Rows of no group are left as they are.
    offsets : device array
        int32 [G + 1]: group g has the rows ``offsets[g] … offsets[g + 1] − 1``, as many as there happen to be. One that
        does not lie within A, or ends before it begins, has none.
    expected_m : int, optional
        Rows that a group is expected to have; it steers the choice of a kernel alone. Default: M / G.
    recipe : (int, int, int)
        ``(1, 128, 128)``.
    stream, num_sms, pdl, weights_static
        As in `fp8_gemm_nt`. Where groups are told on the device, that is waited for before anything else.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As in `fp8_gemm_nt`.
    """
    grouped = Grouped(
        Grouping.OFFSETS, 1, _expected(expected_m), checks.recipe_of(recipe), overlap.of(pdl, weights_static)
    )
    return _launch(grouped, (a, b, d, offsets), stream, num_sms)


def batched_fp8_gemm_nt(
    a: Pair,
    b: Pair,
    d: Any = None,
    *,
    recipe: tuple[int, int, int] | None = checks.RECIPE_1D2D,
    stream: Any = None,
    num_sms: int | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Any:
    """Multiply G matrices A by as many B in one launch: ``d[g] = a[g] · b[g]ᵀ``, each as `fp8_gemm_nt` would.

    Parameters
    ----------
    a : (data, scales)
        FP8 E4M3 [G, M, K], K contiguous, and FP32 [G, M, ceil(K/128)], laid out as for `m_grouped_fp8_gemm_nt_masked`.
    b : (data, scales)
        FP8 E4M3 [G, N, K] and FP32 [G, ceil(N/128), ceil(K/128)].
    d : device array, optional
        BF16 [G, M, N]; allocated where it is not given.
    recipe : (int, int, int)
        ``(1, 128, 128)``.
    stream, num_sms, pdl, weights_static
        As in `fp8_gemm_nt`.

    Returns
    -------
    device array
        `d`, written in the order of the stream.

    Raises
    ------
    ValueError, TypeError
        An operand cannot be used; nothing has been launched.
    UnsupportedDeviceError, CompileError, DriverTooOldError, CudaError, RuntimeError
        As in `fp8_gemm_nt`.
    """
    grouped = Grouped(Grouping.BATCHED, recipe=checks.recipe_of(recipe), overlap=overlap.of(pdl, weights_static))
    return _launch(grouped, (a, b, d), stream, num_sms)


def _expected(expected_m: int | None) -> int | None:
    return expected_m if expected_m is None else rules.positive("expected_m", expected_m)


def _launch(
    grouped: Grouped, given: Sequence[Any], stream: Any, num_sms: int | None, zero_padding: bool = False
) -> Any:
    """The straight line of `nvgemm.gemm`; `given` are both pairs, D, and the layout of the groups, if any."""
    num_sms = sm_limit.limit if num_sms is None else sm_limit.check(num_sms)
    (a, b, d, *layout), names = given, grouped.names
    fields = fingerprint(a, b, d)
    if fields is None and d is not None:
        fields = views(checks.operands(a, b, d), names[:5])
    seen = (fields, *views(layout, names[5:]), grouped, zero_padding, settings.sass, num_sms)
    known = _known.get(seen)
    if known is not None:
        made = known.launch(known.current() if stream is None else streams.handle(stream))
        return made if d is None else d
    objects = (*checks.operands(a, b, d), *layout)
    problem, operands, handle, result = admit(objects, grouped.check, stream, num_sms, names)
    prepared = prepare(problem, operands, handle, num_sms, stacklevel=4)
    if zero_padding:
        zero(problem, operands[5], operands[4], handle)
    prepared.launch(handle)
    if fields is not None and not zero_padding:
        remember(_known, seen, prepared, d)
    return result
