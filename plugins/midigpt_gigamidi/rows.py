"""Values of rows by role, and the filters that decide by them which rows stay."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import Factory, frozen

from midigpt_core.corpus.conditions import DROPPED
from midigpt_core.errors import DataError
from midigpt_gigamidi.columns import ARTIST, INSTRUMENTS, NOMML, NOTES, ROLES, TEMPO, TRACKS
from midigpt_gigamidi.kinds import (
    MOST_TEXT_BYTES,
    to_categories,
    to_integer_lists,
    to_integers,
    to_mask,
    to_names,
    to_numbers,
    to_texts,
)
from midigpt_gigamidi.options import ALL_WITH_DRUMS, DRUMS_ONLY, NO_DRUMS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from midigpt_core.records import BoolArray
    from midigpt_gigamidi.options import GigamidiOptions

#: Reasons under which the report counts rows that the metadata says hold no music.
NO_TRACKS = "no_tracks"
NO_NOTES = "no_notes"

_REQUIRED = {TRACKS: NO_TRACKS, NOTES: NO_NOTES}
# What v2 writes as a number.
_CATEGORIES = {"0": DRUMS_ONLY, "1": ALL_WITH_DRUMS, "2": NO_DRUMS}


@frozen(eq=False)
class Values:
    """Columns of some rows by role."""

    columns: Mapping[str, pa.Array]
    num_rows: int
    #: Called with a role and how many of its values are lost in casting, where any are.
    lost: Callable[[str, int], None]
    #: The columns that ``source.columns`` and ``source.where`` name.
    metadata: Mapping[str, pa.Array] = Factory(dict)

    def filter(self, chosen: pa.Array, count: int) -> Values:
        """The ``count`` rows for which ``chosen`` is true."""
        return self._picked(lambda column: column.filter(chosen), count)

    def take(self, chosen: pa.Array) -> Values:
        """The rows of these indices."""
        return self._picked(lambda column: column.take(chosen), len(chosen))

    def _picked(self, pick: Callable[[pa.Array], pa.Array], count: int) -> Values:
        columns, metadata = (
            {name: pick(column) for name, column in part.items()} for part in (self.columns, self.metadata)
        )
        return Values(columns, count, self.lost, metadata)

    def __contains__(self, role: str) -> bool:
        return role in self.columns

    def texts(self, role: str) -> list[str | None]:
        return to_texts(self.columns[role])

    def categories(self, role: str) -> list[str | None]:
        values, lost = to_categories(self.columns[role])
        if lost:
            self.lost(role, lost)
        return values

    def integers(self, role: str) -> pa.Array:
        """int64."""
        values, lost = to_integers(self.columns[role])
        if lost:
            self.lost(role, lost)
        return values

    def numbers(self, role: str) -> pa.Array:
        """float64."""
        values, lost = to_numbers(self.columns[role])
        if lost:
            self.lost(role, lost)
        return pa.array(values, pa.float64())

    def integer_lists(self, role: str) -> pa.Array:
        """list<int64>."""
        values, lost = to_integer_lists(self.columns[role])
        if lost:
            self.lost(role, lost)
        return values

    def styles(self, roles: Sequence[str]) -> list[str | None]:
        """Comma-separated style names of each row, from the first of ``roles`` that has any."""
        styles: list[str | None] = [None] * self.num_rows
        for role in roles:
            if role not in self or all(styles):
                continue
            # A batch has few styles, many times each.
            decoded: dict[object, str | None] = {}
            for row, names in enumerate(to_names(self.columns[role])):
                if styles[row] or names is None:
                    continue
                key = names if isinstance(names, str) else tuple(names)
                if key not in decoded:
                    decoded[key] = _joined([names] if isinstance(names, str) else names)
                styles[row] = decoded[key]
        return styles


def _joined(names: Sequence[str]) -> str:
    """``["Rock%2Cdrum%20n%20bass%2C"]`` -> ``"Rock,drum n bass"``."""
    parts = [style for name in names for part in unquote(name).split(",") if (style := part.strip())]
    text = ",".join(parts)
    while len(text.encode()) > MOST_TEXT_BYTES and len(parts) > 1:
        parts.pop()
        text = ",".join(parts)
    return text


def filter_roles(options: GigamidiOptions) -> frozenset[str]:
    """The roles whose columns the filters read."""
    needed = {role for _, role, _ in _numeric(options)}
    if options.min_nomml is not None:
        needed.add(NOMML)
    if options.instruments:
        needed.add(INSTRUMENTS)
    if options.artists_in or options.artists_out:
        needed.add(ARTIST)
    if options.styles_in or options.styles_out:
        needed.update(options.styles)
    return frozenset(needed)


def require_filterable(options: GigamidiOptions, present: Collection[str], path: str) -> None:
    """Raise :class:`DataError` if the file has no column for a filter."""
    wanted: list[tuple[str, tuple[str, ...]]] = [(reason, (role,)) for reason, role, _ in _numeric(options)]
    wanted += [("min_nomml", (NOMML,))] if options.min_nomml is not None else []
    wanted += [("instruments", (INSTRUMENTS,))] if options.instruments else []
    wanted += [(name, (ARTIST,)) for name in ("artists_in", "artists_out") if getattr(options, name)]
    wanted += [(name, options.styles) for name in ("styles_in", "styles_out") if getattr(options, name)]
    for reason, roles in wanted:
        if not any(role in present for role in roles):
            columns = " or ".join(repr(name) for role in roles for name in ROLES[role][0])
            raise DataError(
                f"{path}: source.{reason} needs a column {columns}, which the file lacks or has in another kind. "
                "Leave the option out for this file."
            )


def with_music(values: Values) -> tuple[BoolArray, dict[str, int]]:
    """Which rows contain music according to the metadata, and the number of others by reason."""
    return _kept(values.num_rows, _required(values))


def passing(values: Values, options: GigamidiOptions, among: BoolArray) -> tuple[BoolArray, dict[str, int]]:
    """Which rows ``among`` some pass the filters, and the number of others by the first filter that they fail."""
    return _kept(values.num_rows, _filters(values, options), among)


def _kept(
    num_rows: int, masks: Iterator[tuple[str, BoolArray]], among: BoolArray | None = None
) -> tuple[BoolArray, dict[str, int]]:
    keep = np.ones(num_rows, np.bool_) if among is None else among
    dropped: dict[str, int] = {}
    for reason, mask in masks:
        still = keep & mask
        if count := int(keep.sum() - still.sum()):
            dropped[reason] = dropped.get(reason, 0) + count
        keep = still
    return keep, dropped


def _required(values: Values) -> Iterator[tuple[str, BoolArray]]:
    for role, reason in _REQUIRED.items():
        if role in values:
            # An unknown count is no reason to leave a row out.
            yield reason, to_mask(pc.greater(values.integers(role), 0), null=True)


def _numeric(options: GigamidiOptions) -> Iterator[tuple[str, str, float]]:
    """The limits of numbers that are set: option, role, value."""
    for what, role in (("notes", NOTES), ("tracks", TRACKS), ("tempo", TEMPO)):
        for reason in (f"min_{what}", f"max_{what}"):
            value = getattr(options, reason)
            if value is not None:
                yield reason, role, value


def _filters(values: Values, options: GigamidiOptions) -> Iterator[tuple[str, BoolArray]]:
    """Each filter that is set, and which rows pass it; a row without the value passes no filter that needs one."""
    for reason, role, limit in _numeric(options):
        numbers = values.numbers(role) if role == TEMPO else values.integers(role)
        compare = pc.greater_equal if reason.startswith("min_") else pc.less_equal
        yield reason, to_mask(compare(numbers, limit), null=False)
    for one in options.conditions:
        yield DROPPED, to_mask(one.holds(values.metadata[one.column]), null=False)
    if options.min_nomml is not None:
        yield "min_nomml", _any_item(values.integer_lists(NOMML), options.min_nomml)
    if options.instruments:
        categories = [_CATEGORIES.get(text or "", text) for text in values.categories(INSTRUMENTS)]
        yield "instruments", _is_in(categories, options.instruments)
    if options.artists_in or options.artists_out:
        artists = [[names] if isinstance(names, str) else names or [] for names in to_names(values.columns[ARTIST])]
        yield from _in_and_out(artists, "artists", options.artists_in, options.artists_out)
    if options.styles_in or options.styles_out:
        styles = [text.split(",") if text else [] for text in values.styles(options.styles)]
        yield from _in_and_out(styles, "styles", options.styles_in, options.styles_out)


def _any_item(lists: pa.Array, least: int) -> BoolArray:
    """Whether a list has an item of at least ``least``."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    high = to_mask(pc.greater_equal(pc.list_flatten(lists), least), null=False)
    return np.bincount(np.repeat(np.arange(len(lengths)), lengths)[high], minlength=len(lengths)) > 0


def _in_and_out(
    rows: Sequence[Sequence[str]], what: str, wanted: Sequence[str], unwanted: Sequence[str]
) -> Iterator[tuple[str, BoolArray]]:
    """The filters ``<what>_in`` and ``<what>_out`` over lists of names."""
    lengths = [len(names) for names in rows]
    row = np.repeat(np.arange(len(rows)), lengths)
    flat = [_key(name) for names in rows for name in names]
    for suffix, chosen in (("in", wanted), ("out", unwanted)):
        if chosen:
            hits = _is_in(flat, [_key(name) for name in chosen])
            has_one = np.bincount(row[hits], minlength=len(rows)) > 0
            yield f"{what}_{suffix}", has_one if suffix == "in" else ~has_one


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _is_in(values: Sequence[str | None], chosen: Sequence[str]) -> BoolArray:
    found = pc.is_in(pa.array(values, pa.string()), value_set=pa.array(chosen, pa.string()))
    return to_mask(found, null=False)
