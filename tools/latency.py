"""Host times of calls: ``python tools/latency.py`` is ``nvgemm latency``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.cli import main

sys.exit(main(["latency", *sys.argv[1:]]))
