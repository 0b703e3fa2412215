"""One line on stderr, once a process, when a product had to compile its kernel."""

from __future__ import annotations

import sys

from nvgemm import settings
from nvgemm.runtime.build import Cubin

_told = False


def tell(cubin: Cubin) -> None:
    """Say what was compiled, how long it took and how to have it ready, unless `settings.hints` is off.

    At `settings.debug` 1 and above every compilation is told anyway.
    """
    global _told
    if _told or not settings.hints or settings.debug:
        return
    _told = True
    constants, seconds = cubin.meta["constants"], cubin.meta["seconds"]
    what = f"{cubin.symbol} for N={constants['SHAPE_N']} K={constants['SHAPE_K']} in {seconds:.2f} s"
    kept = f"kept in {cubin.path.parent}" if cubin.path else "kept in this process only"
    warm_up = "nvgemm.plan at start-up or `nvgemm compile` has kernels ready before they are needed"
    print(f"nvgemm: compiled {what}, {kept}; {warm_up} (said once; NVGEMM_HINTS=0 silences it)", file=sys.stderr)
