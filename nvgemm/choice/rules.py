"""Rules for one operand; each refusal names the argument, what it got and what holds instead."""

from __future__ import annotations

import operator

from nvgemm.choice.problem import GRANULARITY, TMA_BYTES, ceil_div

Layout = tuple[tuple[int, ...], tuple[int, ...], str]  # shape, strides in elements, dtype: what does not need a pointer

FP8 = ("float8_e4m3fn", "uint8")  # CuPy and NumPy hold E4M3 as plain bytes
BF16 = ("bfloat16", "uint16")  # likewise where ml_dtypes is absent
ITEMSIZE = {"float8_e4m3fn": 1, "uint8": 1, "bfloat16": 2, "uint16": 2, "float16": 2, "float32": 4, "int32": 4}
MAX_DIM = 2**31  # coordinates of a tensor map are signed 32-bit integers
MAX_PITCH = 2**40  # cuTensorMapEncodeTiled: strides below 2^40 bytes
_MOST_SCALE_BYTES = 4 << 32  # the kernel counts the elements of B's scales in 32 bits


def integer(name: str, value: object) -> int:
    """`value` as an int, if it is one."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name}: expected an int, got {value!r}") from None


def flag(name: str, value: object) -> bool:
    """`value` as a bool, if it is one."""
    if value is True or value is False:
        return value
    raise TypeError(f"{name}: expected a bool, got {value!r}")


def positive(name: str, value: object) -> int:
    """`value` as an int, if it counts something."""
    count = integer(name, value)
    if isinstance(value, bool) or count < 1:
        raise ValueError(f"{name}: expected 1 or more, got {value!r}")
    return count


def dtype(name: str, got: str, allowed: tuple[str, ...]) -> None:
    """Refuse a dtype that is not in `allowed`, with the way out for the usual near misses."""
    if got in allowed:
        return
    hint = ""
    if allowed == FP8 and got == "int8":
        hint = "; int8 is no FP8 type: if the bytes are E4M3, view them as uint8"
    elif allowed == FP8 and got.startswith("float8"):
        hint = "; the kernels read E4M3 in its 'fn' form only"
    elif allowed == FP8 and got in ("float16", "bfloat16", "float32", "float64"):
        hint = "; quantise it first with nvgemm.per_token_cast_to_fp8 or nvgemm.per_block_cast_to_fp8"
    raise TypeError(f"{name}: expected {' or '.join(allowed)}, got {got}{hint}")


def quantised(name: str, data: Layout, scales: Layout) -> None:
    """Refuse a pair whose data is no FP8, and one that is the other way round."""
    if data[2] == "float32" and scales[2] in FP8:
        raise TypeError(f"{name}: the pair is swapped, expected (data, scales), got ({data[2]}, {scales[2]})")
    dtype(name, data[2], FP8)


def same_k(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    """Refuse operands of these shapes whose last axes differ."""
    if a[-1] != b[-1]:
        raise ValueError(f"a and b: K must be the same, got K={a[-1]} in a {a} and K={b[-1]} in b {b}")


def columns(n: int) -> None:
    """Refuse rows of D that do not end on 16-byte units."""
    if n % 8:
        raise ValueError(f"b: N must be a multiple of 8, got N={n}; pad b with rows of zeros")


def rank(name: str, shape: tuple[int, ...], axes: str) -> None:
    """Refuse what is not a matrix, or is too large for 32-bit coordinates."""
    if len(shape) != 2:
        raise ValueError(f"{name}: expected a matrix {axes}, got {len(shape)} dimensions, shape {shape}")
    if max(shape) >= MAX_DIM:
        raise ValueError(f"{name}: sizes must be below 2^31, got shape {shape}")


def rows(name: str, layout: Layout, inner: str, *, tma: bool = True) -> None:
    """Refuse a matrix whose rows are not contiguous, overlap, or (`tma`) do not start on 16-byte units."""
    (count, width), strides, dtype_name = layout
    if not count or not width:
        return
    if width > 1 and strides[1] != 1:
        raise ValueError(
            f"{name}: {inner} must be contiguous (stride 1), got strides {strides}; "
            f"pass a contiguous copy, such as cupy.ascontiguousarray({name})"
        )
    if count > 1 and strides[0] < width:
        raise ValueError(f"{name}: rows overlap, the row stride is {strides[0]} elements for {inner}={width}")
    pitch = strides[0] * ITEMSIZE[dtype_name]
    if count == 1 or not tma:
        return
    if pitch % TMA_BYTES:
        kind = "stores need" if name == "d" else "loads need"
        raise ValueError(
            f"{name}: row stride {strides[0]} elements is {pitch} bytes, not a multiple of {TMA_BYTES}; TMA {kind} it"
        )
    if pitch >= MAX_PITCH:
        raise ValueError(f"{name}: row stride {strides[0]} elements is {pitch} bytes; TMA takes less than 2^40")


def row_scales(name: str, layout: Layout, m: int, k: int, aligned: bool, groups: tuple[int, ...] = ()) -> bool:
    """Check scales ``[M, ceil(K/128)]``; True where they are MN-major, padded to 4 rows and `aligned` to 16 bytes.

    False stands for layouts that one transpose on the device puts right: K-major, MN-major unpadded or misaligned.
    Of strides that say nothing (M = 1, or one 128 of K) only those count that an element is ever found by.
    `groups` is the axis in front, where there are as many of these matrices.
    """
    shape, strides, got = layout
    dtype(name, got, ("float32",))
    expected = (*groups, m, ceil_div(k, GRANULARITY))
    if shape != expected:
        hint = "; it is transposed, pass its .T" if shape == expected[::-1] and not groups else ""
        raise ValueError(
            f"{name}: expected shape {expected} for M={m}, K={k} (one per row and 128 of K), got {shape}{hint}"
        )
    if 0 in shape:
        return True
    k_blocks, (row, block) = expected[-1], strides[-2:]
    mn_major = (m == 1 or row == 1) and (k_blocks == 1 or block >= m)
    k_major = (k_blocks == 1 or block == 1) and (m == 1 or row >= k_blocks)
    if not mn_major and not k_major:
        axes = "one of the last two axes" if groups else "one of the two axes"
        raise ValueError(f"{name}: {axes} must be contiguous (stride 1), got strides {strides}")
    step = strides[0] if groups and groups[0] > 1 else 0
    if step < 0:
        raise ValueError(f"{name}: strides must not be negative, got {strides}")
    in_reach = step % 4 == 0 and step * (shape[0] - 1) + m < MAX_DIM
    return mn_major and aligned and (k_blocks == 1 or block % 4 == 0) and in_reach


def block_scales(name: str, layout: Layout, n: int, k: int, groups: tuple[int, ...] = ()) -> None:
    """Check scales ``[ceil(N/128), ceil(K/128)]``; the kernel takes all strides, so any layout is good.

    `groups` is the axis in front, where there are as many of these matrices.
    """
    shape, strides, got = layout
    dtype(name, got, ("float32",))
    k_blocks = ceil_div(k, GRANULARITY)
    expected = (*groups, ceil_div(n, GRANULARITY), k_blocks)
    if shape != expected:
        hint = ""
        if shape == (*groups, n, k_blocks):
            hint = "; per-row scales need recipe=(1, 1, 128)"
        elif shape == expected[::-1] and not groups:
            hint = "; it is transposed, pass its .T"
        raise ValueError(
            f"{name}: expected shape {expected} for N={n}, K={k} (one per 128×128 block), got {shape}{hint}"
        )
    if min(strides) < 0:
        raise ValueError(f"{name}: strides must not be negative, got {strides}")
    if extent((shape[-2:], strides[-2:], got)) > _MOST_SCALE_BYTES:
        raise ValueError(f"{name}: strides {strides} of shape {shape} span 2^32 elements or more")


def extent(layout: Layout) -> int:
    """Bytes from the first element to the end of the last; 0 for an empty array."""
    shape, strides, dtype_name = layout
    if 0 in shape:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return (last + 1) * ITEMSIZE[dtype_name]
