"""A transformer layer's products with data like a trained model's, and how far a quantised result is from FP64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nvgemm.choice.problem import traffic_bytes_with_scales

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Product:
    """D [m, n] = A [m, k] · B [n, k]ᵀ: tokens times the weights of one projection."""

    name: str
    m: int
    n: int
    k: int

    @property
    def flop(self) -> int:
        return 2 * self.m * self.n * self.k

    @property
    def bytes(self) -> int:
        """Least traffic: FP8 operands read once, BF16 result written once, FP32 scales of A read once."""
        return traffic_bytes_with_scales(self.m, self.n, self.k)


TOKENS = 4096
PRODUCTS = (  # DeepSeek-V3's attention and expert projections (arXiv 2412.19437, section 4.2)
    Product("latent query and key/value", TOKENS, 2112, 7168),
    Product("query heads", TOKENS, 24576, 1536),
    Product("expert gate and up", TOKENS, 4096, 7168),
    Product("expert down", TOKENS, 7168, 2048),
)


def activations(rng: np.random.Generator, tokens: int, channels: int) -> Matrix:
    """FP32 [tokens, channels] with outliers: log-normal token norms (σ = 1.5), one channel in 512 is 30 times as large.

    In these the first token is a further 100 times as large: massive activations (arXiv 2402.17762).
    """
    x = rng.standard_normal((tokens, channels), dtype=np.float32)
    x *= rng.lognormal(0, 1.5, (tokens, 1)).astype(np.float32)
    outliers = rng.choice(channels, max(1, channels // 512), replace=False)
    x[:, outliers] *= 30
    x[0, outliers] *= 100
    return x


def weights(rng: np.random.Generator, outputs: int, channels: int) -> Matrix:
    """FP32 [outputs, channels]: normal, of a size that keeps a token's norm, rows differing as trained ones do."""
    w = rng.standard_normal((outputs, channels), dtype=np.float32)
    w *= rng.lognormal(0, 0.3, (outputs, 1)).astype(np.float32) / np.float32(channels**0.5)
    return w


def token_errors(d: NDArray[np.floating], x: Matrix, w: Matrix) -> tuple[float, float]:
    """Relative error ‖d − x·wᵀ‖ / ‖x·wᵀ‖ of each token against FP64: median and worst."""
    exact = x.astype(np.float64) @ w.astype(np.float64).T
    errors = np.linalg.norm(d - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return float(np.median(errors)), float(np.max(errors))


def per_tensor_product(x: Matrix, w: Matrix) -> NDArray[np.float64]:
    """x · wᵀ with one scale a matrix: both rounded to E4M3, summed in FP64, so the best that such scales can give."""
    from nvgemm import reference

    a, b = reference.per_tensor_cast_to_fp8(x), reference.per_tensor_cast_to_fp8(w)
    return reference.gemm(*a, *b, recipe=(len(x), len(w), x.shape[1]))
