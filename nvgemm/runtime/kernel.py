"""`load`: a cubin into a context; `Kernel.launch`: the last step of every call."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from nvgemm.errors import CudaError, DriverTooOldError
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.driver import check, context, cuda, primary_context, require_hopper
from nvgemm.runtime.tensor_map import TensorMap

_MAX_CONFIGS = 1024  # streams come and go
_LAST_SPECIAL = 2  # handles: 0 and 1 are the legacy stream, 2 the per-thread one

Launch = Callable[[int], None]  # on the stream with this handle


class Arguments:
    """A kernel's parameters, packed: the array of addresses that the launch takes, and the values behind them.

    Values are ctypes scalars and `TensorMap`s. They are not changed afterwards: the driver reads them outside the GIL.
    """

    __slots__ = ("_addresses", "_values", "address")

    def __init__(self, *values: Any) -> None:
        self._values = values
        self._addresses = (ctypes.c_void_p * len(values))(*map(_address, values))
        self.address = ctypes.addressof(self._addresses)


def _address(value: Any) -> int:
    return value.address if isinstance(value, TensorMap) else ctypes.addressof(value)


class Kernel:
    """A kernel loaded on one device, for as long as this object lives."""

    def __init__(self, cubin: Cubin, device: int, shared_bytes: int = 0) -> None:
        require_hopper(device)
        driver = cuda()
        self.cubin, self.device, self.shared_bytes = cubin, device, shared_bytes
        with context(device):
            try:
                self._module = check(driver.cuModuleLoadData(cubin.image))
            except CudaError as error:
                raise _explain(error, cubin) from error
            function = check(driver.cuModuleGetFunction(self._module, cubin.symbol.encode()))
            limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            check(driver.cuFuncSetAttribute(function, limit, shared_bytes))
        self._function, self._launch = function, driver.cuLaunchKernelEx
        self._current_context, self._context = driver.cuCtxGetCurrent, primary_context(device)
        self._configs: dict[tuple[int, int, bool], dict[int, Any]] = {}  # by grid, block and overlap, then by stream

    def launch(self, grid: int, block: int, arguments: Arguments, stream: int) -> None:
        """Launch `grid` CTAs of `block` threads on `stream`, whatever context is current."""
        self.bind(grid, block, arguments)(stream)

    def bind(self, grid: int, block: int, arguments: Arguments, is_early: bool = False) -> Launch:
        """What launches `grid` CTAs of `block` threads with `arguments` on the stream that it is called with.

        `is_early`: it may begin before the kernel before it in the stream has ended, which it waits for itself.
        A stream belongs to a context, and a kernel runs on it whichever is current: that is asked only for the legacy
        stream and the per-thread one, of which each context has its own.
        """
        configs = self._configs.setdefault((grid, block, is_early), {})
        launch, function = self._launch, self._function

        def start(stream: int) -> None:
            config = configs.get(stream) or self._configure(configs, grid, block, stream, is_early)
            if stream > _LAST_SPECIAL or self._is_current():
                status = launch(config, function, arguments.address, 0)
            else:
                with context(self.device):
                    status = launch(config, function, arguments.address, 0)
            if status[0]:
                check(status, f"cuLaunchKernelEx({self.cubin.symbol})")

        return start

    def _is_current(self) -> bool:
        failed, current = self._current_context()
        return not failed and int(current) == self._context

    def _configure(self, configs: dict[int, Any], grid: int, block: int, stream: int, is_early: bool = False) -> Any:
        """What cuLaunchKernelEx takes in one; kept, because to convert eight numbers takes longer than a look-up."""
        config = cuda().CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = grid, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = block, 1, 1
        config.sharedMemBytes, config.hStream = self.shared_bytes, stream
        config.attrs, config.numAttrs = ([_early_start()], 1) if is_early else ([], 0)
        if len(configs) >= _MAX_CONFIGS:
            configs.clear()
        configs[stream] = config
        return config


def _early_start() -> Any:
    """The attribute of a programmatic dependent launch."""
    driver = cuda()
    attribute = driver.CUlaunchAttribute()
    attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
    attribute.value.programmaticStreamSerializationAllowed = 1
    return attribute


def load(cubin: Cubin, device: int, shared_bytes: int = 0) -> Kernel:
    """Load `cubin` into the primary context of `device`, with `shared_bytes` of dynamic shared memory for each CTA."""
    return Kernel(cubin, device, shared_bytes)


def _explain(error: CudaError, cubin: Cubin) -> Exception:
    """A cubin of a newer CUDA than the driver knows is the one failure that the user can mend."""
    if error.name in ("CUDA_ERROR_NO_BINARY_FOR_GPU", "CUDA_ERROR_INVALID_IMAGE", "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"):
        return DriverTooOldError(
            f"{cubin.symbol}: the driver refuses the cubin of NVRTC {cubin.meta['compiler']} ({error.name}); "
            "update the driver, or install the extra nvgemm[nvrtc12] and set NVGEMM_NVRTC=12.8"
        )
    return error
