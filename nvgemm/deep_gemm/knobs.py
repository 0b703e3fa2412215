"""DeepGEMM's run-time settings. A value that would have an effect there and can have none here is refused."""

from __future__ import annotations

from collections.abc import Sequence

import nvgemm
from nvgemm.deep_gemm.arguments import whole, whole_numbers
from nvgemm.deep_gemm.refused import missing

__all__ = [
    "get_num_sms",
    "get_pdl",
    "get_tc_util",
    "set_block_size_multiple_of",
    "set_ignore_compile_dims",
    "set_num_sms",
    "set_pdl",
    "set_tc_util",
    "use_deterministic_algorithms",
]

_tc_util = 100  # percent


def set_num_sms(num_sms: int) -> None:
    """Let every product take at most so many SMs, odd numbers included; 0 gives all SMs back."""
    nvgemm.set_num_sms(whole("num_sms", num_sms, "an int, 0 for all SMs") or None)


def get_num_sms() -> int:
    """SMs that a product may take."""
    return nvgemm.get_num_sms()


def set_tc_util(tc_util: int) -> None:
    """Store a share of the tensor cores' rate, 0 to 100 percent: read on Blackwell only, there and here."""
    global _tc_util
    percent = whole("tc_util", tc_util, "0 to 100 percent, an int")
    if not 0 <= percent <= 100:
        raise ValueError(f"tc_util: expected 0 to 100 percent, got {percent}")
    _tc_util = percent or 100


def get_tc_util() -> int:
    """What `set_tc_util` stored; 100 for 0."""
    return _tc_util


def set_pdl(enable_pdl: bool) -> None:
    """Let products begin before the kernel before them has ended, or not."""
    if enable_pdl not in (True, False):
        raise TypeError(f"enable_pdl: expected a bool, got {enable_pdl!r}")
    nvgemm.set_pdl(bool(enable_pdl))


def get_pdl() -> bool:
    """Whether products begin before the kernel before them has ended."""
    return nvgemm.get_pdl()


def set_ignore_compile_dims(ignore: bool) -> None:
    """Accept False: kernels are always compiled for N and K."""
    if ignore:
        raise missing("set_ignore_compile_dims", "kernels that are not compiled for N and K are", "leave it False")


def set_block_size_multiple_of(multiple_of: int | Sequence[int]) -> None:
    """Accept 1, or (1, 1) for M and N: any block that is measured to be fast may be taken."""
    both = multiple_of if isinstance(multiple_of, (tuple, list)) else (multiple_of, multiple_of)
    if whole_numbers("multiple_of", both, (2,), "an int, or two for M and N") != (1, 1):
        raise missing(
            "set_block_size_multiple_of", f"a choice of blocks by multiples of {multiple_of} is", "leave it 1"
        )


def use_deterministic_algorithms(enabled: bool) -> None:
    """Accept both: the same inputs and configuration give the same bits in any case."""
