"""Host time of a call, and of first calls: ``python tools/latency.py``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import first_call, latency
from nvgemm.errors import UnsupportedDeviceError

try:
    latency.run()
    first_call.run()
except (UnsupportedDeviceError, ModuleNotFoundError) as error:
    sys.exit(f"latency: {error}")
