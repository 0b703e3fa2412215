"""What ``nvgemm info`` shows: versions, devices, the cache and the settings in force."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from nvgemm import __version__, settings
from nvgemm.errors import CompileError, CudaError, UnsupportedDeviceError
from nvgemm.runtime import cubin_cache

LIBRARIES = ("numpy", "ml_dtypes", "cupy", "torch")


def collect() -> dict[str, Any]:
    """All facts as plain data. What is absent is a sentence in its place, never an exception."""
    return {
        "nvgemm": __version__,
        "python": platform.python_version(),
        "cuda.bindings": _bindings(),
        **_driver(),
        "nvrtc": _nvrtc(),
        **{name: _version(name) for name in LIBRARIES},
        "cache": _cache(),
        "settings": {name: {"value": value, "variable": name_} for name, (value, name_) in settings.snapshot().items()},
    }


def as_text(facts: dict[str, Any]) -> str:
    """The facts as aligned lines."""
    rows = [(name, str(value)) for name, value in facts.items() if not isinstance(value, (dict, list))]
    rows += [(f"device {device['ordinal']}", _describe(device)) for device in facts["devices"]]
    rows += [("cache", f"{facts['cache']['directory']} ({facts['cache']['entries']} entries)")]
    rows += [(setting["variable"], _shown(setting["value"])) for setting in facts["settings"].values()]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _describe(device: dict[str, Any]) -> str:
    major, minor = device["capability"]
    text = f"{device['name']}, compute capability {major}.{minor}, {device['num_sms']} SMs"
    if (major, minor) != (9, 0):
        return f"{text}; not supported, compute capability 9.0 is needed"
    measured = (
        ", ".join(Path(path).stem for path in device["tables"]) or "none has as many SMs, the model decides alone"
    )
    return f"{text}; tables of measured blocks: {measured}"


def _shown(value: object) -> str:
    return "(not set)" if value is None else str(value)


def _bindings() -> str:
    try:
        from cuda.bindings import __version__ as version
    except ImportError:
        return "not installed: pip install cuda-python"
    return str(version)


def _driver() -> dict[str, Any]:
    from nvgemm.runtime import driver

    try:
        version = ".".join(map(str, driver.driver_version()))
        devices = [driver.device(ordinal) for ordinal in range(driver.device_count())]
    except (CudaError, UnsupportedDeviceError, ImportError) as error:
        return {"driver": str(error), "devices": []}
    return {"driver": version, "devices": [_device(device) for device in devices]}


def _device(device: Any) -> dict[str, Any]:
    from nvgemm.runtime.device_model import model

    names = ("ordinal", "name", "capability", "num_sms")
    measured = list(model(device).tables) if device.capability == (9, 0) else []
    return {**{name: getattr(device, name) for name in names}, "tables": measured}


def _nvrtc() -> str:
    from nvgemm.runtime import nvrtc

    try:
        compiler = nvrtc.compiler()
    except (CompileError, OSError) as error:
        return str(error)
    return f"{compiler.version} ({compiler.path})"


def _version(name: str) -> str:
    """Version by the distribution's record: an import of these would take seconds."""
    if importlib.util.find_spec(name) is None:
        return "not installed"
    distributions = metadata.packages_distributions().get(name, [])
    return metadata.version(distributions[0]) if distributions else "installed"


def _cache() -> dict[str, Any]:
    directory = cubin_cache.directory()
    entries = 0
    if directory is not None and directory.is_dir():
        entries = sum(".nvrtc-" in name for name in os.listdir(directory))
    return {"directory": str(directory) if directory else "memory only", "entries": entries}
