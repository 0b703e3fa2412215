"""Quantisers and scale layouts by DeepGEMM's names."""

from nvgemm.deep_gemm.utils import dist as dist
from nvgemm.deep_gemm.utils import layout as layout
from nvgemm.deep_gemm.utils import math as math
from nvgemm.deep_gemm.utils.dist import *  # noqa: F403
from nvgemm.deep_gemm.utils.layout import *  # noqa: F403
from nvgemm.deep_gemm.utils.math import *  # noqa: F403

__all__ = [*layout.__all__, *math.__all__, *dist.__all__]
