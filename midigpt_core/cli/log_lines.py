"""Prints log records of libraries that no other handler takes, as lines for a terminal."""

from __future__ import annotations

import logging

from midigpt_core.cli.echo import printable_lines


def guard_log() -> None:
    """Pass log records through ``printable``."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Formatter())


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))
