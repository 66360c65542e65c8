"""The options of the metrics."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, le

from midigpt_core.score.bar_fingerprints import GRID


@frozen(kw_only=True)
class Grid:
    #: Steps per quarter note on which notes are compared.
    grid: int = field(default=GRID, validator=and_(ge(1), le(480)))
