"""Plots of measurements: ``python tools/plot.py RESULTS.json --out DIR``, from a plain checkout or an installation."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench.plots import main

if __name__ == "__main__":
    sys.exit(main())
