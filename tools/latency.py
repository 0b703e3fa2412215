"""Host time of a call, and of first calls: ``python tools/latency.py``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import first_call, latency

latency.run()
first_call.run()
