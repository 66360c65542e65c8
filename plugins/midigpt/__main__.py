"""As a program, the command ``midigpt``."""

from __future__ import annotations

import sys

from midigpt_core.cli.main import run
from midigpt_core.cli.root import root

if __name__ == "__main__":
    sys.exit(run(root, "python -m midigpt"))
