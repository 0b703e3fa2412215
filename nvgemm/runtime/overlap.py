"""Programmatic dependent launch (PDL): products that begin before the kernel before them in the stream has ended."""

from __future__ import annotations

from nvgemm.choice import rules
from nvgemm.choice.problem import Overlap

usual = Overlap.ALONE  # of calls that do not say


def set_pdl(enabled: bool) -> None:
    """Let every product that does not say `pdl` begin before the kernel before it has ended, in all threads.

    Its start-up then runs beside the end of that kernel. Before it reads A, scales or a layout, or writes anything, it
    waits for that kernel, so results are the same. Plans keep what they were made with.

    Parameters
    ----------
    enabled : bool

    Raises
    ------
    TypeError
        It is no bool.
    """
    global usual
    usual = Overlap.OVERLAPPED if rules.flag("enabled", enabled) else Overlap.ALONE


def get_pdl() -> bool:
    """What `set_pdl` set; False at first."""
    return usual is not Overlap.ALONE


def of(pdl: bool | None, weights_static: bool) -> Overlap:
    """How a call is launched that was given these.

    Raises
    ------
    TypeError
        One of them is no bool.
    """
    if pdl is None and weights_static is False:
        return usual
    is_early = usual is not Overlap.ALONE if pdl is None else rules.flag("pdl", pdl)
    is_static = rules.flag("weights_static", weights_static)
    return Overlap.ALONE if not is_early else Overlap.STATIC_WEIGHTS if is_static else Overlap.OVERLAPPED
