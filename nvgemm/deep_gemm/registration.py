"""`install`: the package under the name `deep_gemm`."""

from __future__ import annotations

import sys

_OURS = "nvgemm.deep_gemm"
_V1_FOLDERS = ("jit_kernels", "jit_kernels.utils")  # where version 1 kept what stands at the top since


def install() -> None:
    """Let ``import deep_gemm`` and ``from deep_gemm.utils import …`` find this package, for the whole process.

    Call it before anything imports `deep_gemm`. A DeepGEMM that is installed beside it is no longer found. A second
    call changes nothing.

    Raises
    ------
    RuntimeError
        Another `deep_gemm` is imported already: what was taken from it would go on beside this one.
    """
    package = sys.modules[_OURS]
    other = sys.modules.get("deep_gemm")
    if other is not None and other is not package:
        raise RuntimeError(
            f"install: another deep_gemm is imported already ({getattr(other, '__file__', None)}); "
            "call nvgemm.deep_gemm.install() before the first import of deep_gemm"
        )
    for name, module in list(sys.modules.items()):
        if name == _OURS or name.startswith(f"{_OURS}."):
            sys.modules[name.removeprefix("nvgemm.")] = module
    for name in _V1_FOLDERS:
        sys.modules[f"deep_gemm.{name}"] = package
