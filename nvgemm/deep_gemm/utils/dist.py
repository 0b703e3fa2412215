"""Names of DeepGEMM's set-up of several processes; refused."""

from nvgemm.deep_gemm import refused

_missing = refused.functions("utils.dist")
globals().update(_missing)

__all__ = list(_missing)
