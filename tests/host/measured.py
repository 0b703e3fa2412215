"""What tables decide, apart from what the model chooses."""

from __future__ import annotations

from nvgemm.choice.config import GemmConfig
from nvgemm.choice.cost import H100, Model
from nvgemm.choice.heuristic import select
from nvgemm.choice.problem import Problem


def measured_config(problem: Problem, device: Model = H100) -> GemmConfig | None:
    """The configuration for `problem`, where a table decided it."""
    config, measured = select(problem, device)
    return config if measured else None
