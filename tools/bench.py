"""Times of the dense suite: ``python tools/bench.py``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import dense
from nvgemm.errors import UnsupportedDeviceError

try:
    dense.run()
except (UnsupportedDeviceError, ModuleNotFoundError) as error:
    sys.exit(f"bench: {error}")
