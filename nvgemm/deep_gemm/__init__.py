"""DeepGEMM's Python interface over nvgemm: dense and grouped FP8 products on Hopper, by its names and signatures.

`install` puts this package at the name `deep_gemm`, so that code written for DeepGEMM and torch runs unchanged. What is
different, and what is missing: docs/deep_gemm.md. torch is imported by the functions that need it, on their first call.

>>> import nvgemm.deep_gemm
>>> nvgemm.deep_gemm.install()
>>> import deep_gemm
"""

from __future__ import annotations

from nvgemm import __version__ as _nvgemm_version
from nvgemm.deep_gemm import refused as _refused
from nvgemm.deep_gemm import testing as testing
from nvgemm.deep_gemm import utils as utils
from nvgemm.deep_gemm.gemm import *  # noqa: F403
from nvgemm.deep_gemm.grouped import *  # noqa: F403
from nvgemm.deep_gemm.knobs import *  # noqa: F403
from nvgemm.deep_gemm.registration import install as install
from nvgemm.deep_gemm.testing import bench as bench  # at the top in version 1
from nvgemm.deep_gemm.testing import bench_kineto as bench_kineto
from nvgemm.deep_gemm.testing import calc_diff as calc_diff
from nvgemm.deep_gemm.utils import *  # noqa: F403

__version__ = f"2.6.1+nvgemm.{_nvgemm_version}"  # the DeepGEMM whose names these are, and whose kernels they are not

globals().update(_refused.functions(""))
