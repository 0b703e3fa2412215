"""What surrounds the grouped products of a mixture-of-experts layer: tokens to rows of experts, and sums back."""

from nvgemm.moe.assignment import route
from nvgemm.moe.routing import Routing
from nvgemm.moe.rows import permute
from nvgemm.moe.weighted_sum import combine

__all__ = ["Routing", "combine", "permute", "route"]
