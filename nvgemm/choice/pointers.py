"""Refusals that need pointers and devices, looked at on each call: alignment, one device, and where `d` lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nvgemm.choice.problem import TMA_BYTES, View
from nvgemm.choice.rules import ITEMSIZE, extent

Extents = tuple[int, int, int, int, int]  # bytes that a, sfa, b, sfb and d span
NAMES = ("a", "a scales", "b", "b scales", "d")


def dense_pointers(a: View, sfa: View, b: View, sfb: View, d: View | None, extents: Extents) -> None:
    """Part of `checks.dense` that needs the pointers: alignment, devices, and where `d` lies."""
    pa, psfa, pb, psfb = a.ptr, sfa.ptr, b.ptr, sfb.ptr
    if (pa | pb) & 15 or (psfa | psfb) & 3 or not (pa and psfa and pb and psfb):
        _check_alignment((a, sfa, b, sfb))
    device = a.device
    if not (device == sfa.device == b.device == sfb.device):
        one_device(zip(NAMES, (a, sfa, b, sfb), strict=False))
    if d is None:
        return
    if d.device != device:
        one_device(zip(NAMES, (a, sfa, b, sfb, d), strict=True))
    if d.readonly:
        raise ValueError("d: the array is read-only")
    start = d.ptr
    if start & 15 or not start:
        _check_alignment((a, sfa, b, sfb, d))
    end = start + extents[4]
    if (
        (pa < end and start < pa + extents[0])
        or (psfa < end and start < psfa + extents[1])
        or (pb < end and start < pb + extents[2])
        or (psfb < end and start < psfb + extents[3])
    ):
        _check_overlap((a, sfa, b, sfb), d, extents)


def grouped_pointers(views: Sequence[View | None], names: Sequence[str]) -> None:
    """The same for grouped operands: five as above, and the layout of the groups."""
    given = [(name, view) for name, view in zip(names, views, strict=True) if view is not None]
    for name, view in given:
        if view.dtype in ("float32", "int32"):
            aligned(name, view, ITEMSIZE[view.dtype], f"; an array of {view.dtype} needs it")
        else:
            aligned(name, view, TMA_BYTES, "; TMA needs it")
    one_device(given)
    d = views[4]
    if d is None:
        return
    if d.readonly:
        raise ValueError("d: the array is read-only")
    apart("d", d, [(name, view) for name, view in given if name != "d"])


def one_device(named: Iterable[tuple[str, View]]) -> None:
    """Refuse operands of several devices."""
    devices = {name: view.device for name, view in named}
    if len(set(devices.values())) > 1:
        listed = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"operands: all must be on one device, got {listed}")


def aligned(name: str, x: View, needed: int, reason: str = "") -> None:
    """Refuse a null pointer, or one that is not aligned to `needed` bytes, for an array that has elements."""
    if 0 in x.shape:
        return
    if not x.ptr:
        raise ValueError(f"{name}: null pointer for an array of shape {x.shape}")
    if x.ptr % needed:
        raise ValueError(f"{name}: pointer {x.ptr:#x} is not {needed}-byte aligned{reason}")


def apart(name: str, x: View, read: Iterable[tuple[str, View]]) -> None:
    """Refuse to write `x` where it shares bytes with one of the arrays that are read."""
    end = x.ptr + _span(x)
    for other, view in read:
        span = _span(view)
        if span and view.ptr < end and x.ptr < view.ptr + span:
            raise ValueError(f"{name}: overlaps {other}, which is still being read while {name} is written")


def _span(view: View) -> int:
    return extent((view.shape, view.strides, view.dtype))


def _check_alignment(views: Sequence[View]) -> None:
    for name, view in zip(NAMES, views, strict=False):
        if name.endswith("scales"):
            aligned(name, view, 4, "; an FP32 array needs it")
        else:
            aligned(name, view, TMA_BYTES, "; TMA needs it")


def _check_overlap(views: Sequence[View], d: View, extents: Extents) -> None:
    for name, view, span in zip(NAMES, views, extents, strict=False):
        overlaps = span and extents[4] and view.ptr < d.ptr + extents[4] and d.ptr < view.ptr + span
        if overlaps and not _columns_of_one_buffer(view, d):
            raise ValueError(f"d: overlaps {name}, which is still being read while d is written")


def _columns_of_one_buffer(x: View, d: View) -> bool:
    """True where `x` and `d` are separate column ranges of rows with one pitch, so that only their extents overlap."""
    x_size, d_size = ITEMSIZE[x.dtype], ITEMSIZE[d.dtype]
    pitch = d.strides[0] * d_size
    if not pitch or x.strides[1] != 1 or x.strides[0] * x_size != pitch:
        return False
    shift = (d.ptr - x.ptr) % pitch
    return shift >= x.shape[1] * x_size and shift + d.shape[1] * d_size <= pitch


def check_elements(name: str, x: View) -> None:
    """Refuse a null pointer, or one that is not aligned to the element type."""
    size = ITEMSIZE[x.dtype]
    if 0 in x.shape:
        return
    if not x.ptr:
        raise ValueError(f"{name}: null pointer for an array of shape {x.shape}")
    if x.ptr % size:
        raise ValueError(f"{name}: pointer {x.ptr:#x} is not aligned to the {size} bytes of {x.dtype}")
