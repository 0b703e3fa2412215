"""Which stream a call launches on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nvgemm.runtime.arrays import ArrayView

_LEGACY = 1  # CU_STREAM_LEGACY, the explicit spelling of stream 0


def _of_cupy(device: int) -> Callable[[], int]:
    current_stream = sys.modules["cupy"].cuda.get_current_stream
    return lambda: current_stream(device).ptr


def _of_torch(device: int) -> Callable[[], int]:
    current_stream = sys.modules["torch"].cuda.current_stream
    return lambda: current_stream(device).cuda_stream


# Owners that have a current stream, one for all their arrays on a device; what makes the function that asks for it.
_CURRENT = {"cupy": _of_cupy, "torch": _of_torch}


def resolve(stream: Any, views: Sequence[ArrayView | None], objects: Iterable[Any] = ()) -> int:
    """Handle of the stream to launch on.

    In order: `stream`, where it is not None; the current stream of the framework that owns the first operand;
    the stream that it brought through ``__cuda_array_interface__``, or was allocated on; the legacy stream, 0.

    Parameters
    ----------
    stream : int or object or None
        A handle (0 is the legacy stream), or an object with ``__cuda_stream__``, ``ptr`` or ``cuda_stream``.
    views : sequence of ArrayView
        The operands, the one that decides first; None, but not there, stands for one that is not given.
    objects : iterable
        What the caller passed for `views`, for the error message.

    Raises
    ------
    ValueError
        Operands are ordered by different streams and `stream` is None. Nothing waits for another stream by itself.
    TypeError
        `stream` is none of the above.
    """
    if stream is not None:
        return handle(stream)
    first = views[0]
    assert first is not None
    owner, found = first.owner, ordered_by(first)
    for view in views[1:]:
        if view is None or (view.owner == owner and owner in _CURRENT):
            continue
        other = ordered_by(view)
        if found is None:
            found = other
        elif other is not None and other != found:
            raise _conflict(views, objects)
    return 0 if found is None else found


def current(views: Sequence[ArrayView]) -> Callable[[], int]:
    """``resolve(None, views)`` to be called later, when another stream may be current."""
    first = views[0]
    if first.owner in _CURRENT and all(view.owner == first.owner for view in views):
        return _CURRENT[first.owner](first.device)
    return lambda: resolve(None, views)


def ordered_by(view: ArrayView) -> int | None:
    """Stream on which the operand's framework orders work on it; None where nothing is known of it."""
    return _CURRENT[view.owner](view.device)() if view.owner in _CURRENT else view.stream


def handle(stream: Any) -> int:
    """Handle of an explicit stream: an int, or any of the usual stream objects."""
    if isinstance(stream, int) and not isinstance(stream, bool):
        value = int(stream)
    elif (protocol := getattr(stream, "__cuda_stream__", None)) is not None:
        version, value = protocol() if callable(protocol) else protocol
        if version != 0:
            raise TypeError(f"stream: version {version} of __cuda_stream__ is not known")
    elif (attribute := _attribute(stream)) is not None:
        value = attribute
    else:
        raise TypeError(
            f"stream: expected a handle (int) or an object with __cuda_stream__, ptr or cuda_stream, "
            f"got {type(stream).__name__}"
        )
    value = int(value)
    if value < 0:
        raise ValueError(f"stream: a handle is not negative, got {value}")
    return 0 if value == _LEGACY else value


def _attribute(stream: Any) -> Any:
    for name in ("ptr", "cuda_stream"):  # CuPy before 14, torch
        if hasattr(stream, name):
            return getattr(stream, name)
    # cuda.bindings' CUstream converts by int(), as plain numbers and strings do too.
    return int(stream) if type(stream).__module__.startswith("cuda.") else None


def _conflict(views: Sequence[ArrayView | None], objects: Iterable[Any]) -> ValueError:
    kinds = [f"{type(x).__module__.partition('.')[0]}.{type(x).__name__}" for x in objects]
    seen: dict[str, None] = {}
    for index, view in enumerate(views):
        if view is not None:
            at = ordered_by(view)
            kind = kinds[index] if index < len(kinds) else f"{view.owner} array"
            seen[f"{kind} on {'any stream' if at is None else hex(at)}"] = None
    return ValueError(f"stream: operands are ordered by different streams ({', '.join(seen)}); pass stream=")
