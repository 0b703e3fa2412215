"""Products under the policy that each gets, beside the compiler's own bits: ``python tools/policies.py [SUITE …]``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import shipped

shipped.run(sys.argv[1:] or ["dense", "others", "contiguous", "masked", "offsets"])
