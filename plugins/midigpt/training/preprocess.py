"""As a program, the command ``midigpt preprocess``."""

from __future__ import annotations

import sys

from midigpt_core.cli.main import run
from midigpt_core.cli.preprocess import preprocess

if __name__ == "__main__":
    sys.exit(run(preprocess, "python -m midigpt.training.preprocess"))
