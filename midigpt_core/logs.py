"""Loggers whose messages reach a terminal or a file as one line each."""

from __future__ import annotations

import logging

from midigpt_core.printable import printable


def logger(name: str) -> logging.Logger:
    """The logger called ``name``, which writes every message as one :func:`printable` line."""
    found = logging.getLogger(name)
    found.addFilter(_make_printable)  # adding a filter again has no effect
    return found


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage(), None), None
    return True
