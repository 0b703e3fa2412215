"""Kernel times of a suite: ``python tools/bench.py`` is ``nvgemm bench``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.cli import main

sys.exit(main(["bench", *sys.argv[1:]]))
