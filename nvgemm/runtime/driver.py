"""The CUDA driver through cuda.bindings: statuses as exceptions, devices, primary contexts. Loaded on first use."""

from __future__ import annotations

from functools import lru_cache
from types import TracebackType
from typing import Any, NamedTuple

from nvgemm.errors import CudaError, UnsupportedDeviceError

_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
_INVALID_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT: none is current
_CAPTURE_IMPLICIT = 906  # CUDA_ERROR_STREAM_CAPTURE_IMPLICIT: the legacy stream, while another one captures


class Device(NamedTuple):
    """What the choice of a configuration and `nvgemm info` need to know of a GPU.

    Attributes
    ----------
    clock_khz : int
        Highest SM clock.
    memory_bandwidth : int
        Peak of the device memory in bytes per second: twice the memory clock times the bus width.
    max_shared_bytes : int
        Shared memory that one block can have when it asks for it.
    """

    ordinal: int
    name: str
    capability: tuple[int, int]
    num_sms: int
    clock_khz: int
    l2_bytes: int
    memory_bandwidth: int
    max_shared_bytes: int


@lru_cache(maxsize=1)
def cuda() -> Any:
    """Module `cuda.bindings.driver`, with the driver initialised.

    Raises
    ------
    UnsupportedDeviceError
        There is no NVIDIA driver, or it finds no GPU.
    """
    from cuda.bindings import driver

    try:
        status = driver.cuInit(0)
    except (RuntimeError, OSError, ImportError) as error:  # the releases of cuda-bindings differ in what they raise
        raise UnsupportedDeviceError(
            "no NVIDIA driver on this machine (libcuda.so.1 was not found); kernels can be built here but not run"
        ) from error
    if int(status[0]) == _NO_DEVICE:
        raise UnsupportedDeviceError("the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)")
    check(status, "cuInit")
    return driver


def check(result: tuple[Any, ...], call: str = "") -> Any:
    """Value of a driver call, which returns ``(status, *values)``: none, one, or a tuple of them.

    Raises
    ------
    CudaError
        The status is not CUDA_SUCCESS; `call` is named in it.
    """
    status = result[0]
    if status:
        raise _error(status, call)
    count = len(result)
    return result[1] if count == 2 else None if count == 1 else result[1:]


def _error(status: Any, call: str) -> CudaError:
    from cuda.bindings import driver

    known, text = driver.cuGetErrorString(status)
    name = getattr(status, "name", f"status {int(status)}")
    return CudaError(name, text.decode() if not known and text else "", call)


@lru_cache(maxsize=1)
def driver_version() -> tuple[int, int]:
    """Newest CUDA version that the driver serves, such as ``(13, 0)``."""
    version: int = check(cuda().cuDriverGetVersion(), "cuDriverGetVersion")
    return version // 1000, version % 1000 // 10


def device_count() -> int:
    """GPUs that this process sees."""
    return int(check(cuda().cuDeviceGetCount(), "cuDeviceGetCount"))


def current_device() -> int:
    """Ordinal of the calling thread's device: of its current context, 0 where it has none yet."""
    status, handle = cuda().cuCtxGetDevice()
    if int(status) == _INVALID_CONTEXT:
        return 0
    check((status,), "cuCtxGetDevice")
    return int(handle)


@lru_cache(maxsize=64)
def device(ordinal: int) -> Device:
    """Properties of one GPU, read once."""
    driver = cuda()
    handle = check(driver.cuDeviceGet(ordinal), f"cuDeviceGet({ordinal})")

    def attribute(name: str) -> int:
        which = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(check(driver.cuDeviceGetAttribute(which, handle), f"cuDeviceGetAttribute({name})"))

    name: bytes = check(driver.cuDeviceGetName(256, handle), "cuDeviceGetName")
    return Device(
        ordinal=ordinal,
        name=name.split(b"\0")[0].decode(),
        capability=(attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
        num_sms=attribute("MULTIPROCESSOR_COUNT"),
        clock_khz=attribute("CLOCK_RATE"),
        l2_bytes=attribute("L2_CACHE_SIZE"),
        memory_bandwidth=2 * attribute("MEMORY_CLOCK_RATE") * 1000 * attribute("GLOBAL_MEMORY_BUS_WIDTH") // 8,
        max_shared_bytes=attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN"),
    )


@lru_cache(maxsize=64)
def require_hopper(ordinal: int) -> Device:
    """Device `ordinal`, if the kernels can run on it.

    Raises
    ------
    UnsupportedDeviceError
        Its compute capability is not 9.0.
    """
    found = device(ordinal)
    if found.capability != (9, 0):
        major, minor = found.capability
        raise UnsupportedDeviceError(
            f"device {ordinal} ({found.name}) is sm_{major}{minor}; the kernels are built for sm_90a, "
            "which only Hopper runs (H100, H200, H800, H20, GH200)"
        )
    return found


@lru_cache(maxsize=64)
def primary_context(ordinal: int) -> int:
    """Handle of the device's primary context, which CuPy and torch use too; retained once and kept."""
    driver = cuda()
    handle = check(driver.cuDeviceGet(ordinal), f"cuDeviceGet({ordinal})")
    return int(check(driver.cuDevicePrimaryCtxRetain(handle), "cuDevicePrimaryCtxRetain"))


class context:  # noqa: N801 - used as a statement: `with context(ordinal):`
    """Make the device's primary context current for a block, unless it already is; the old one comes back after."""

    __slots__ = ("_handle", "_pushed")

    def __init__(self, ordinal: int) -> None:
        self._handle = primary_context(ordinal)
        self._pushed = False

    def __enter__(self) -> None:
        driver = cuda()
        if int(check(driver.cuCtxGetCurrent(), "cuCtxGetCurrent")) != self._handle:
            check(driver.cuCtxPushCurrent(self._handle), "cuCtxPushCurrent")
            self._pushed = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pushed:
            check(cuda().cuCtxPopCurrent(), "cuCtxPopCurrent")


def is_capturing(stream: int) -> bool:
    """True where work on `stream` would be recorded into a graph, or would break another stream's capture.

    The context of `stream` must be current where `stream` is 0.
    """
    status, state = cuda().cuStreamIsCapturing(stream)
    if int(status) == _CAPTURE_IMPLICIT:
        return True
    check((status,), "cuStreamIsCapturing")
    return int(state) != 0


def pointer_device(ptr: int) -> int:
    """Ordinal of the device that `ptr` belongs to.

    Raises
    ------
    CudaError
        CUDA does not know the pointer: it is host memory.
    """
    driver = cuda()
    which = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    return int(check(driver.cuPointerGetAttribute(which, ptr), "cuPointerGetAttribute"))
