"""Which kernel a product gets, and how it is made: the policy of the control bits, and the compiler."""

from __future__ import annotations

import sys
from typing import NamedTuple

from nvgemm import settings
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import Model
from nvgemm.choice.heuristic import select
from nvgemm.choice.problem import Problem
from nvgemm.choice.tables import Measured
from nvgemm.runtime import nvrtc
from nvgemm.runtime.build import is_cached

_told = False


class Making(NamedTuple):
    """What is left to say once the configuration is chosen.

    Attributes
    ----------
    policy : str
        Of the control bits.
    compiler : str or None
        Version of NVRTC where the settings name none; None: the newest.
    """

    policy: str
    compiler: str | None = None


def choose(problem: Problem, policy: str, device: Model) -> tuple[GemmConfig, Making]:
    """The kernel for `problem` on `device`, and how it is made."""
    config, measured = select(problem, device)
    return config, making(policy, config, measured)


def making(policy: str, config: GemmConfig, measured: Measured | None = None) -> Making:
    """What `policy` means for a kernel of `config`, if a table has `measured` of its product.

    ``tuned`` is what was measured, and its compiler is installed, else what measured best for the kind of kernel on an
    H100. Products are measured with tiles that divide their rows.
    """
    if policy != "tuned":
        return Making(policy)
    if measured is None or measured.policy is None or config.begins_inside:
        return Making(usual(config))
    found = Making(measured.policy, measured.compiler)
    return found if _can_be_had(config, found) else Making(usual(config))


def usual(config: GemmConfig) -> str:
    """The policy that measured best for this kind of kernel."""
    is_slim = config.in_flight == 2 and config.block_n <= 64
    is_late = config.begins_inside and config.block_m == 256
    if config.num_consumers == 1 or config.k_split == 2 or is_slim or is_late:
        return "asis"  # nobody to give the issue slot to, or nothing won by that
    if config.block_n == 256:
        return "s2e4-hd32"
    if config.block_m != 128:
        return "s2e4"
    return "s3e4" if config.begins_inside and config.block_n > 128 else "s2e2"


def _can_be_had(config: GemmConfig, made: Making) -> bool:
    """Whether this compiler is here, or has been where the cache comes from; where it is missing that is said once."""
    global _told
    if made.compiler is None:
        return True
    if settings.compile == "never":
        return is_cached("fp8_gemm", config.constants(), *made)
    found = nvrtc.is_installed(made.compiler)
    if not found and not _told and settings.hints and settings.nvrtc is None:
        _told = True
        print(
            f"nvgemm: some products were measured fastest as NVRTC {made.compiler} compiles them, which is not "
            "installed (pip install 'nvgemm[nvrtc12]'); the newest does it instead (said once; NVGEMM_HINTS=0 "
            "silences it)",
            file=sys.stderr,
        )
    return found
