"""The FP64 oracle on the device, for shapes that take a host minutes: every element, the measures of nvgemm.testing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from products import NORMAL_CODES

from nvgemm import reference, testing
from nvgemm.choice.problem import ceil_div
from nvgemm.reference.formats import E4M3_VALUES

cupy = pytest.importorskip("cupy")
ROWS = 2048  # of D at a time: temporaries stay below 1 GiB each


class Oracle:
    """One weight matrix with tokens for it, and the FP64 products of all of them, as CuPy arrays."""

    def __init__(self, rng: np.random.Generator, m: int, n: int, k: int) -> None:
        self.blocks = ceil_div(k, 128)
        codes = cupy.asarray(NORMAL_CODES)
        self.a, self.b = (codes[cupy.asarray(np.frombuffer(rng.bytes(r * k), np.uint8))].reshape(r, k) for r in (m, n))
        sfa, sfb = (rng.uniform(0.75e-3, 1.25e-3, (self.blocks, r)).astype(np.float32) for r in (m, ceil_div(n, 128)))
        self.sfa, self.sfb = cupy.asarray(sfa).T, cupy.asarray(np.ascontiguousarray(sfb.T))
        b = _dequantise(self.b, self.sfb, 128)
        self.ref, self.sums = cupy.empty((m, n)), cupy.empty((m, n))
        for rows in _chunks(m):
            a = _dequantise(self.a[rows], self.sfa[rows], 1)
            cupy.matmul(a, b.T, out=self.ref[rows])
        cupy.abs(b, out=b)
        for rows in _chunks(m):
            cupy.matmul(cupy.abs(_dequantise(self.a[rows], self.sfa[rows], 1)), b.T, out=self.sums[rows])

    def check(self, bits: Any) -> None:
        """Raise AssertionError unless the BF16 `bits` are the product of the first ``len(bits)`` tokens."""
        of_ref, of_sum = (float(testing.element_bound(*unit, blocks=self.blocks)) for unit in ((1, 0), (0, 1)))
        squares = np.zeros(3)
        for rows in _chunks(len(bits)):
            d = (bits[rows].astype(cupy.uint32) << 16).view(cupy.float32).astype(cupy.float64)
            ref = self.ref[rows]
            error = abs(d - ref)
            right = error <= of_ref * abs(ref) + of_sum * self.sums[rows]
            if not bool(right.all()):
                self._tell(bits, rows.start + int(cupy.argmin(right.all(axis=1).astype(cupy.int8))))
            squares += [float((x * x).sum()) for x in (error, d, ref)]
        assert squares[0] / (squares[1] + squares[2]) <= testing.MAX_DIFF
        assert math.sqrt(squares[0] / squares[2]) <= testing.MAX_RELATIVE_FROBENIUS

    def _tell(self, bits: Any, first: int) -> None:
        rows = slice(first, first + 256)
        d = reference.decode_bf16(cupy.asnumpy(bits[rows]))
        print(f"rows from {first} on:")
        size = len(d)
        ref, sums = cupy.asnumpy(self.ref[first : first + size]), cupy.asnumpy(self.sums[first : first + size])
        testing.assert_close(d, ref, sums, blocks=self.blocks)


def _dequantise(codes: Any, scales: Any, rows: int) -> Any:
    values = cupy.asarray(E4M3_VALUES.astype(np.float64))[codes]
    for block in range(scales.shape[1]):
        values[:, block * 128 : block * 128 + 128] *= cupy.repeat(scales[:, block], rows)[: len(codes), None]
    return values


def _chunks(rows: int) -> list[slice]:
    return [slice(first, min(first + ROWS, rows)) for first in range(0, rows, ROWS)]
