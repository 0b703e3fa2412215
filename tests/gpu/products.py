"""Products to test with: operands on the host and on device 0, the right results, and outputs with guard bands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from nvgemm import Array, ArrayView, reference, settings
from nvgemm.bench import building
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Problem, ceil_div, sfa_stride
from nvgemm.runtime import driver
from nvgemm.runtime.device_model import model
from nvgemm.runtime.making import making

POISON = 0x7FC1  # a BF16 NaN that no kernel makes
NORMAL_CODES = reference.encode_e4m3([150 * NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)])
"""Codes of as many quantiles of normal data, scaled as the quantisers do: indexed by random bytes."""


@dataclass(eq=False)
class Product:
    """Host operands; `pairs` puts them on the device, where they stay only as long as this object."""

    a: np.ndarray
    sfa: np.ndarray
    b: np.ndarray
    sfb: np.ndarray
    _keep: list[Array] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.a.shape[0], self.b.shape[0], self.a.shape[1]

    def rows(self, m: int) -> Product:
        """The product of the first `m` rows of A."""
        return Product(self.a[:m], self.sfa[:m], self.b, self.sfb)

    def pairs(self, sfa: str = "mn", sfb: str = "k"):
        """Both operands of `fp8_gemm_nt`, the scales in these layouts."""
        return self.left(sfa), self.right(sfb)

    def left(self, sfa: str = "mn") -> tuple[Array, ArrayView]:
        """A and its scales: "mn" major and padded, "unpadded", or "k" major."""
        return self.put(self.a), self.scales_a(sfa)

    def right(self, sfb: str = "k") -> tuple[Array, ArrayView]:
        """B and its scales, "k" or "n" major."""
        blocks = self.sfb.shape
        scales = self.put(self.sfb.T if sfb == "n" else self.sfb)
        return self.put(self.b), ArrayView(scales.ptr, blocks, (1, blocks[0]) if sfb == "n" else None, "float32")

    def scales_a(self, layout: str = "mn") -> ArrayView:
        m, k_blocks = self.sfa.shape
        pitch = {"mn": sfa_stride(m), "unpadded": m}.get(layout)
        if pitch is None:
            return ArrayView(self.put(self.sfa).ptr, (m, k_blocks), None, "float32")
        padded = np.full((k_blocks, pitch), np.nan, np.float32)
        padded[:, :m] = self.sfa.T
        return ArrayView(self.put(padded).ptr, (m, k_blocks), (1, pitch), "float32")

    def put(self, host: np.ndarray) -> Array:
        self._keep.append(Array.from_numpy(host))
        return self._keep[-1]

    def operands(self) -> tuple[np.ndarray, ...]:
        return self.a, self.sfa, self.b, self.sfb

    def bits(self) -> np.ndarray:
        """BF16 bits of the product, right to the last one where the operands are those of `exact`."""
        return reference.encode_bf16(reference.gemm(*self.operands()) + 0.0)

    def fp64(self) -> tuple[np.ndarray, np.ndarray]:
        """The product and the sums of magnitudes that `nvgemm.testing.assert_close` takes."""
        return reference.gemm(*self.operands()), reference.absolute_gemm(*self.operands())


def normal(rng: np.random.Generator, m: int, n: int, k: int) -> Product:
    """Normal data with scales of one magnitude."""
    return _product(rng, NORMAL_CODES, lambda shape: rng.uniform(0.75e-3, 1.25e-3, shape), m, n, k)


def exact(rng: np.random.Generator, m: int, n: int, k: int) -> Product:
    """Integers up to 4 and scales 1/4 … 2: no sum has more bits than its accumulator, for K up to 16384."""
    codes = reference.encode_e4m3(np.arange(256) % 9 - 4.0)
    return _product(rng, codes, lambda shape: np.exp2(rng.integers(-2, 2, shape)), m, n, k)


def _product(rng, codes, scales, m, n, k) -> Product:
    blocks = ceil_div(k, 128)
    a, b = (codes[np.frombuffer(rng.bytes(rows * k), np.uint8)].reshape(rows, k) for rows in (m, n))
    sfa, sfb = (scales(shape).astype(np.float32) for shape in ((m, blocks), (ceil_div(n, 128), blocks)))
    return Product(a, sfa, b, sfb)


class Guarded:
    """BF16 [m, n] inside a larger poisoned buffer, its rows strided; what must not be written is looked at."""

    def __init__(self, m: int, n: int, rows: int = 3, left: int = 8, right: int = 24) -> None:
        self._inside = slice(rows, rows + m), slice(left, left + n)
        self._buffer = Array.from_numpy(np.full((m + 2 * rows, left + n + right), POISON, np.uint16))
        pitch = self._buffer.shape[1]
        self.view = ArrayView(self._buffer.ptr + 2 * (rows * pitch + left), (m, n), (pitch, 1), "bfloat16")

    def bits(self, stream: int = 0) -> np.ndarray:
        """Bits of the result, once the guard bands have been found untouched."""
        buffer = self._buffer.to_numpy(stream)
        inside = buffer[self._inside].copy()
        buffer[self._inside] = POISON
        wrong = np.argwhere(buffer != POISON)
        assert not len(wrong), f"{len(wrong)} elements outside of d are written, the first at {wrong[0]} of the buffer"
        return inside


def same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    """Compare bits, and say where they differ."""
    assert got.shape == expected.shape
    wrong = np.argwhere(got != expected)
    if len(wrong):
        (row, column), (top, left), (bottom, right) = wrong[0], wrong.min(0), wrong.max(0)
        raise AssertionError(
            f"{len(wrong)} of {got.size} differ, in rows {top}–{bottom} and columns {left}–{right}; first "
            f"[{row}, {column}] is {got[row, column]:#06x}, expected {expected[row, column]:#06x}"
        )


def bits_of(d: Array) -> np.ndarray:
    """BF16 bits of an `nvgemm.Array`."""
    return d.to_numpy().view(np.uint16)


def write(target: Array, host: np.ndarray) -> None:
    """New values of the same shape and dtype, in the same memory; written on return, for work on any stream."""
    host = np.ascontiguousarray(host)
    with driver.context(0):
        driver.check(driver.cuda().cuMemcpyHtoD(target.ptr, host.ctypes.data, host.nbytes), "cuMemcpyHtoD")
        # The copy may still be under way, and streams that do not block do not wait for it.
        driver.check(driver.cuda().cuCtxSynchronize(), "cuCtxSynchronize")


def configs(shapes: Iterable[tuple[int, int, int]]) -> dict[GemmConfig, None]:
    """What device 0 picks for these M, N, K."""
    device = model(driver.device(0))
    return dict.fromkeys(select_config(Problem(*shape, True), device) for shape in shapes if 0 not in shape)


def build_all(chosen: Iterable[GemmConfig], policy: str | None = None) -> None:
    """Compile on all cores what is not cached, so that no test waits for one kernel after the other."""
    building.build_all((config, making(policy or settings.sass, config)) for config in chosen)
