"""What a measurement launches, compiled before it begins."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from nvgemm.choice.config import GemmConfig
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.gemm_kernel import build_config
from nvgemm.runtime.making import Making


def build_all(wanted: Iterable[tuple[GemmConfig, Making]]) -> dict[tuple[GemmConfig, Making], Cubin]:
    """The kernels of these configurations; those that are not cached are compiled on all cores."""
    distinct = list(dict.fromkeys(wanted))
    with ThreadPoolExecutor() as pool:
        cubins = pool.map(lambda each: build_config(each[0], *each[1]), distinct)
        return dict(zip(distinct, cubins, strict=True))
