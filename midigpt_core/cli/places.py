"""Parses bars and tracks of a command line: ``8-11`` and ``0,2``."""

from __future__ import annotations

import re

import click


def bars_of(text: str) -> tuple[int, int]:
    """The first and the last bar. Raises click.BadParameter."""
    match = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a range of bars. Write the first and the last from 0, e.g. 0-3.")
    return int(match[1]), int(match[2] or match[1])


def tracks_of(text: str) -> list[int]:
    """Track numbers. Raises click.BadParameter."""
    if re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text) is None:
        raise click.BadParameter(
            f"{text!r} is not a list of tracks. Write numbers from 0, separated by commas, e.g. 0,2."
        )
    return [int(track) for track in text.split(",")]
