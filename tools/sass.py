"""Read a kernel's machine code, before and after its SASS policy; see ``nvgemm sass --help``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nvgemm.cli import main

if __name__ == "__main__":
    sys.exit(main(["sass", *sys.argv[1:]]))
