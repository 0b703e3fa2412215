"""Measures and timers by DeepGEMM's names; `nvgemm.testing` has the stricter measures."""

from nvgemm.deep_gemm.testing.bench import bench as bench
from nvgemm.deep_gemm.testing.bench import bench_kineto as bench_kineto
from nvgemm.deep_gemm.testing.bench import suppress_stdout_stderr as suppress_stdout_stderr
from nvgemm.deep_gemm.testing.numeric import assert_bitwise_equal as assert_bitwise_equal
from nvgemm.deep_gemm.testing.numeric import calc_diff as calc_diff
from nvgemm.deep_gemm.testing.numeric import count_bytes as count_bytes
from nvgemm.deep_gemm.testing.utils import get_arch_major as get_arch_major
from nvgemm.deep_gemm.testing.utils import ignore_env as ignore_env
from nvgemm.deep_gemm.testing.utils import test_filter as test_filter
