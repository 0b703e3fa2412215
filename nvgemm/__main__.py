"""``python -m nvgemm``."""

import sys

from nvgemm.cli import main

sys.exit(main())
