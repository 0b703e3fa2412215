"""How many SMs a product may take: all of its device's, or fewer, so that other kernels run beside it."""

from __future__ import annotations

from nvgemm.choice import rules
from nvgemm.runtime import driver

limit: int | None = None  # for calls that name none; None: all SMs of the device


def set_num_sms(num_sms: int | None) -> None:
    """Let every product that does not name its own `num_sms` take at most so many SMs, in all threads.

    Parameters
    ----------
    num_sms : int or None
        1 or more, odd numbers included; None gives all SMs back. Plans keep what they were made with.

    Raises
    ------
    TypeError, ValueError
        `num_sms` is no such number. That it is more than a device has is told by the call that runs there.
    """
    global limit
    limit = None if num_sms is None else check(num_sms)


def get_num_sms() -> int:
    """SMs that a product may take which names no `num_sms` of its own: those set, else all of the current GPU's.

    Raises
    ------
    UnsupportedDeviceError, CudaError
        None is set, and this process sees no GPU.
    """
    return limit if limit is not None else driver.device(driver.current_device()).num_sms


def check(num_sms: object) -> int:
    """`num_sms` as an int, if it is a number of SMs at all."""
    return rules.positive("num_sms", num_sms)


def within(ordinal: int, num_sms: int | None) -> driver.Device:
    """Device `ordinal` with `num_sms` of its SMs, which is what configurations and grids are made for; None: with all.

    Raises
    ------
    UnsupportedDeviceError
        It is no Hopper GPU.
    ValueError
        It has fewer SMs.
    """
    device = driver.require_hopper(ordinal)
    if num_sms is None:
        return device
    if num_sms > device.num_sms:
        raise ValueError(
            f"num_sms: {num_sms} is more than the {device.num_sms} SMs of device {ordinal} ({device.name})"
        )
    return device._replace(num_sms=num_sms)
