"""``python -m lth_core.cli``: the same as ``lth``."""

import sys

from lth_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
