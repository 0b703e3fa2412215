"""What the choice of a configuration needs of a GPU: how fast it is, and which tables were measured on such a one."""

from __future__ import annotations

import os
from functools import lru_cache

from nvgemm.choice import tables
from nvgemm.choice.cost import H100, H100_CLOCK, Model
from nvgemm.errors import CudaError, UnsupportedDeviceError
from nvgemm.runtime import cubin_cache, driver, sm_limit


def model(device: driver.Device) -> Model:
    """What the choice of a configuration needs of `device`: the peak rate of its memory, and what was measured on it.

    A table that ``nvgemm tune`` wrote on such a device goes before the shipped one of the device that is most like it.
    """
    own = user_table()
    return _model(device, own if own is not None and _is_of(own, device) else None)


def user_table() -> str | None:
    """Where ``nvgemm tune`` writes; None where nothing can be kept."""
    folder = cubin_cache.directory()
    return None if folder is None else str(folder / "tuned.json")


def _is_of(path: str, device: driver.Device) -> bool:
    table = tables.read(path) if os.path.isfile(path) else None  # False also where the folder is closed
    return table is not None and tables.is_alike(table.device, device._asdict())


@lru_cache(maxsize=64)
def _model(device: driver.Device, own: str | None) -> Model:
    measured = own, tables.nearest(device.num_sms, device.clock_khz, device.memory_bandwidth)
    return Model(
        num_sms=device.num_sms,
        dram_bytes_per_clock=device.memory_bandwidth / H100_CLOCK,
        tables=tuple(path for path in measured if path is not None),
    )


def model_here(num_sms: int | None) -> tuple[str, Model]:
    """Name and model of the first GPU, or of an H100 where that is no Hopper GPU, with `num_sms` of its SMs."""
    limit = None if num_sms is None else sm_limit.check(num_sms)
    try:
        device = sm_limit.within(0, limit)
    except (CudaError, UnsupportedDeviceError):
        return "an H100 SXM (there is no Hopper GPU here)", H100 if limit is None else H100._replace(num_sms=limit)
    return device.name, model(device)
