"""What NVML tells of the driver and of the card that torch uses; the package nvidia-ml-py is imported when asked."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """A value, or None and why there is none."""

    value: Any
    why: str | None


def driver_version() -> Answer:
    """The driver's release, such as ``"580.159.04"``."""
    return _ask(lambda: _library().nvmlSystemGetDriverVersion())


def joules() -> Answer:
    """Energy that the card has drawn since the driver was loaded; a difference of two readings has a meaning."""
    return _ask(lambda: _library().nvmlDeviceGetTotalEnergyConsumption(_card()) * 1e-3)


def _ask(question: Callable[[], Any]) -> Answer:
    try:
        return Answer(question(), None)
    except Exception as error:  # an NVMLError, whose class stands in a package that may be absent, or no such package
        return Answer(None, f"{type(error).__name__}: {error}")


@lru_cache(maxsize=1)
def _library() -> Any:
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    return nvml


@lru_cache(maxsize=1)
def _card() -> Any:
    """NVML's handle of torch's current device; the two number the cards differently."""
    torch = importlib.import_module("torch")
    uuid = torch.cuda.get_device_properties(torch.cuda.current_device()).uuid
    return _library().nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
