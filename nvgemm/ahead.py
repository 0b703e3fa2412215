"""Kernels built ahead of the call that launches them, from sizes alone. Needs no GPU."""

from __future__ import annotations

from nvgemm import settings
from nvgemm.choice import alignment as alignments
from nvgemm.choice import checks, grouped_checks, rules
from nvgemm.choice.grouped_checks import Grouped
from nvgemm.choice.problem import Grouping, Problem
from nvgemm.runtime import overlap
from nvgemm.runtime.build import Cubin
from nvgemm.runtime.device_model import model_here
from nvgemm.runtime.gemm_kernel import build_config
from nvgemm.runtime.making import choose

LAYOUTS = tuple(grouping.name.lower() for grouping in Grouping if grouping is not Grouping.DENSE)


def build_dense(
    m: int,
    n: int,
    k: int,
    *,
    num_sms: int | None = None,
    policy: str | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Cubin:
    """The cubin that a product of this shape would launch on the first GPU here, or on an H100.

    Parameters
    ----------
    m, n, k : int
        Shape of the product; N a multiple of 8, K of 16, none of them 0.
    num_sms : int, optional
        SMs that the product will be given. Default: all.
    policy : str, optional
        Policy for the control bits; default: `nvgemm.settings.sass`.
    pdl, weights_static : bool
        As of the call; each has a kernel of its own.
    """
    checks.sizes(m, n, k)
    return _build(Problem(m, n, k, True, overlap=overlap.of(pdl, weights_static)), num_sms, policy)


def build_grouped(
    layout: str,
    groups: int,
    m: int,
    n: int,
    k: int,
    *,
    expected_m: int | None = None,
    num_sms: int | None = None,
    policy: str | None = None,
    pdl: bool | None = None,
    weights_static: bool = False,
) -> Cubin:
    """The cubin that a grouped product of these sizes would launch on the first GPU here, or on an H100.

    Parameters
    ----------
    layout : str
        ``contiguous``, ``psum``, ``offsets``: A is [M, K]; ``masked``, ``batched``: A is [G, M, K].
    groups, m, n, k : int
        G, M, N and K; N a multiple of 8, K of 16, none of them 0.
    expected_m, num_sms, pdl, weights_static
        As of the call.
    policy : str, optional
        As in `build_dense`.

    Raises
    ------
    ValueError, TypeError
        A size or `layout` is not one of these.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout: expected {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}, got {layout!r}")
    grouping = Grouping[layout.upper()]
    begins_aligned = grouping in (Grouping.CONTIGUOUS, Grouping.PSUM)
    alignment = alignments.get_mk_alignment_for_contiguous_layout() if begins_aligned else 1
    expected = None if expected_m is None else rules.positive("expected_m", expected_m)
    checks.sizes(m, n, k)
    grouped_checks.sizes(rules.positive("groups", groups), n, k)
    grouped = Grouped(grouping, alignment, expected, overlap=overlap.of(pdl, weights_static))
    return _build(grouped.problem(groups, m, n, k), num_sms, policy)


def _build(problem: Problem, num_sms: int | None, policy: str | None) -> Cubin:
    device = model_here(num_sms)[1]
    config, made = choose(problem, settings.sass if policy is None else policy, device)
    return build_config(config, *made)
