"""The rows at which groups begin in one tall A: what callers pad to, and what the kernel may rely on."""

from __future__ import annotations

from nvgemm.choice import rules

LEGAL = (32, 64, 128)
_alignment = 128


def get_mk_alignment_for_contiguous_layout() -> int:
    """Multiple of rows at which the groups of `m_grouped_fp8_gemm_nt_contiguous` begin, where a call names none.

    Returns
    -------
    int
        128 unless `set_mk_alignment_for_contiguous_layout` set another: tiles of 128 rows are the fastest.
    """
    return _alignment


def set_mk_alignment_for_contiguous_layout(alignment: int) -> None:
    """Let groups begin at multiples of so many rows, in all threads, in calls that name no alignment.

    Parameters
    ----------
    alignment : int
        32, 64 or 128.

    Raises
    ------
    TypeError, ValueError
        `alignment` is none of these.
    """
    global _alignment
    _alignment = check(alignment)


def get_theoretical_mk_alignment_for_contiguous_layout(expected_m: int | None = None) -> int:
    """Least alignment with which groups of about `expected_m` rows lose nothing to tiles that are lower than 128 rows.

    Parameters
    ----------
    expected_m : int, optional
        Rows of a group; None stands for many.

    Returns
    -------
    int
        32, 64 or 128.

    Raises
    ------
    TypeError, ValueError
        `expected_m` is no number of rows.
    """
    if expected_m is None:
        return LEGAL[-1]
    rows = rules.positive("expected_m", expected_m)
    return next((alignment for alignment in LEGAL if rows <= alignment), LEGAL[-1])


def check(alignment: object) -> int:
    """`alignment` as an int, if groups may begin at its multiples."""
    rows = rules.positive("alignment", alignment)
    if rows not in LEGAL:
        raise ValueError(f"alignment: expected {', '.join(map(str, LEGAL[:-1]))} or {LEGAL[-1]} rows, got {rows}")
    return rows
