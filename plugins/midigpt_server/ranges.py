"""The values that a server's options and its configuration file accept."""

from __future__ import annotations

import click

from midigpt_core.cli.options import FiniteRange

PORT = click.IntRange(0, 65_535)
#: Generations of a model at once, unless set. They share each read of the weights.
MOST_AT_ONCE = 16
PARALLEL = click.IntRange(1, 256)
QUEUE = click.IntRange(1, 100_000)
SECONDS = FiniteRange(0, 1e9)
DEVICES = ("cpu", "cuda", "mps", "auto")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
