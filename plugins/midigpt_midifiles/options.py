"""The options of the source ``midifiles``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from attrs import field, frozen

from midigpt_core.corpus.conditions import Condition, condition
from midigpt_core.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from attrs import Attribute

    from midigpt_core.records import BoolArray

#: What is known of a file besides its music: its name, with the folders below the path that was given, and its size.
COLUMNS = ("path", "bytes")


def _check_conditions(_options: object, _attribute: Attribute[Any], texts: tuple[str, ...]) -> None:
    for text in texts:
        column = condition(text).column
        if column not in COLUMNS:
            raise ValueError(
                f"where: there is no column {column[:80]!r}.{nearest(column, COLUMNS)} MIDI files have no metadata but "
                f"{' and '.join(COLUMNS)}"
            )


@frozen(kw_only=True)
class MidiFilesOptions:
    #: Keep files for which all of these hold: path or bytes, ==, !=, <, <=, > or >=, and a value: "bytes < 100000".
    where: tuple[str, ...] = field(default=(), validator=_check_conditions)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of ``where``."""
        return tuple(map(condition, self.where))


def kept(conditions: Sequence[Condition], names: Sequence[str], sizes: Sequence[int]) -> BoolArray:
    """bool[n]: which files hold all conditions. Raises :class:`midigpt_core.errors.DataError`."""
    columns = {"path": pa.array(names, pa.string()), "bytes": pa.array(sizes, pa.int64())}
    holds: BoolArray = pa.array([True] * len(names), pa.bool_()).to_numpy(zero_copy_only=False)
    for one in conditions:
        holds = holds & one.holds(columns[one.column]).to_numpy(zero_copy_only=False)
    return holds
