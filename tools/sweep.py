"""Times of a product's candidate configurations: ``python tools/sweep.py M N K``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nvgemm.bench import sweep

if len(sys.argv) != 4:
    sys.exit("usage: python tools/sweep.py M N K")
sweep.run(*map(int, sys.argv[1:]))
