"""A's scales laid out before a product, where its caller has not done so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nvgemm
from nvgemm.choice.pointers import NAMES
from nvgemm.deep_gemm.arguments import Pair
from nvgemm.product import Check, admit, ready_kernel
from nvgemm.runtime import sm_limit
from nvgemm.runtime.arrays import view


def laid_out(objects: Sequence[Any], check: Check, names: Sequence[str] = NAMES) -> Pair:
    """A and its scales, MN-major and padded: copied by the caller's library, in silence and in its own graph pools.

    The product's own transpose would warn, and take scratch that a capture on a fresh stream cannot allocate. All that
    can refuse the product comes before the copy, which a capture would record. `objects` are A, its scales, and all
    other operands of the product, which `check` looks at and `names` names.
    """
    data, scales = objects[:2]
    strides = view(scales, "a scales").strides
    if strides[-2:-1] == (1,) and strides[-1] % 4 == 0:
        return data, scales
    num_sms = sm_limit.limit
    problem, operands, stream, _ = admit(objects, check, None, num_sms, names)
    if problem.sfa_mn_major or 0 in (problem.m, problem.n, problem.k, problem.groups):
        return data, scales
    ready_kernel(problem._replace(sfa_mn_major=True), operands[0].device, stream, num_sms)
    return data, nvgemm.get_mn_major_tma_aligned_tensor(scales, stream=stream)
