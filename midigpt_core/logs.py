"""Loggers whose messages reach a terminal or a file as one line each."""

from __future__ import annotations

import logging

from midigpt_core.printable import printable


def logger(name: str) -> logging.Logger:
    """The logger called ``name``, whose every message is one :func:`printable` line wherever it goes."""
    found = logging.getLogger(name)
    found.addFilter(_make_printable)  # which is added once
    return found


def _make_printable(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage(), None), None
    return True
