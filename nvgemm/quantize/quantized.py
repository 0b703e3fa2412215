"""`Quantized`: what the quantisers return and the products take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from nvgemm.choice import rules
from nvgemm.choice.problem import GRANULARITY
from nvgemm.runtime.allocation import copy_out
from nvgemm.runtime.arrays import view
from nvgemm.runtime.streams import resolve

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Quantized(NamedTuple):
    """E4M3 data and their scales, as the products take them.

    Attributes
    ----------
    data : array, [rows, K]
        E4M3, in the caller's library: tagged ``float8_e4m3fn`` where it can be, else ``uint8`` codes.
    scales : array
        FP32. 1×128: [rows, ceil(K/128)]; 128×128: [ceil(rows/128), ceil(K/128)]. A value is ``code · scale``.
    """

    data: Any
    scales: Any

    def dequantize(self) -> NDArray[Any]:
        """Values that the codes and scales stand for: FP32 [rows, K] in host memory.

        Copies from the device and waits for it. Meant for a look and for tests.

        Raises
        ------
        TypeError
            The data are not of one byte an element, or one of the two is no array.
        RuntimeError
            The stream captures a graph.
        """
        import numpy as np

        from nvgemm.reference.formats import decode_e4m3

        values, scales = decode_e4m3(_to_host(self.data, "data")), _to_host(self.scales, "scales")
        rows_a_scale = 1 if scales.shape[0] == values.shape[0] else GRANULARITY
        with np.errstate(invalid="ignore"):
            for block in range(scales.shape[1]):
                column = np.repeat(scales[:, block], rows_a_scale)[: values.shape[0], None]
                values[:, block * GRANULARITY : (block + 1) * GRANULARITY] *= column
        return values


def _to_host(x: Any, name: str) -> NDArray[Any]:
    import numpy as np

    if isinstance(x, np.ndarray):
        return x
    source = view(x, name)
    layout = (source.shape, source.strides, source.dtype)
    buffer = np.empty(rules.extent(layout), np.uint8)
    copy_out(buffer.ctypes.data, source.ptr, buffer.nbytes, source.device, resolve(None, (source,), (x,)))
    kind = np.dtype(np.float32 if source.dtype == "float32" else np.uint8)
    strides = tuple(stride * kind.itemsize for stride in source.strides)
    return np.ndarray(source.shape, kind, buffer, strides=strides).copy()
