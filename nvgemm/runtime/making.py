"""Which kernel a product gets, and how it is made: the policy of the control bits, and the compiler."""

from __future__ import annotations

import sys
from typing import NamedTuple

from nvgemm import settings
from nvgemm.choice import tables
from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import Model
from nvgemm.choice.heuristic import select_config
from nvgemm.choice.problem import Problem
from nvgemm.runtime import nvrtc

_told = False


class Making(NamedTuple):
    """What is left to say once the configuration is chosen.

    Attributes
    ----------
    policy : str
        Of the control bits.
    compiler : str or None
        Version of NVRTC; None: that of the settings, else the newest.
    """

    policy: str
    compiler: str | None = None


def choose(problem: Problem, policy: str, device: Model) -> tuple[GemmConfig, Making]:
    """The kernel for `problem` on `device`, and how it is made."""
    config = select_config(problem, device)
    return config, making(policy, problem, config, device)


def making(policy: str, problem: Problem, config: GemmConfig, device: Model) -> Making:
    """What `policy` means for the kernel of `problem`.

    ``tuned`` is what was measured for the product, if anything was, and its compiler is installed; else what measured
    best for the kind of kernel on an H100. Products are measured with tiles that divide their rows.
    """
    if policy != "tuned":
        return Making(policy)
    found = tables.lookup(problem, device.tables, device.num_sms)
    if found is None or found.policy is None or config.begins_inside or not _is_there(found.compiler):
        return Making(usual(config))
    return Making(found.policy, found.compiler)


def usual(config: GemmConfig) -> str:
    """The policy that measured best for this kind of kernel."""
    if config.num_consumers == 1:  # nobody to give the issue slot to
        return "asis"
    if config.block_m != 128 or config.block_n == 256:
        return "s2e4"
    return "s3e4" if config.begins_inside and config.block_n > 128 else "s2e2"


def _is_there(compiler: str | None) -> bool:
    """Whether kernels of this compiler can be had; where one is missing that says so, once."""
    global _told
    if compiler is None or settings.compile == "never":  # then they were compiled elsewhere
        return True
    if settings.nvrtc is not None:
        return False
    found = nvrtc.is_installed(compiler)
    if not found and not _told and settings.hints:
        _told = True
        print(
            f"nvgemm: some products were measured fastest as NVRTC {compiler} compiles them, which is not installed "
            f"(pip install 'nvgemm[nvrtc12]'); NVRTC {nvrtc.version()} does it instead "
            "(said once; NVGEMM_HINTS=0 silences it)",
            file=sys.stderr,
        )
    return found
