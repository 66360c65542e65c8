"""Finds GigaMIDI's columns by name, whatever the release calls them, and casts their values where nothing is lost.

===============  ================================================  =============================================
role             v1.1.0, v2.0.0                                    v1.0.0
===============  ================================================  =============================================
``music``        ``music``                                         ``music``
``id``           ``md5``                                           ``md5``
``tracks``       ``num_tracks``
``notes``        ``total_notes``
``nomml``        ``NOMML``                                         ``median_metric_depth``
``instruments``  ``instrument_category__drums-only__0__…``         ``instrument_category``
``artist``       ``artist``                                        ``artist_scraped``
``tempo``        ``tempo``
``curated``      ``music_styles_curated``                          ``genres_curated``
``scraped``      ``music_style_scraped``                           ``genres_scraped``
``discogs`` …    ``music_style_audio_text_Discogs`` …              ``genres_discogs`` …
===============  ================================================  =============================================

Only ``music`` is indispensable. Kinds vary between files: an integer may be stored as a double, a list of integers as a
list of doubles or, in a CSV, as text.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import field, frozen

from midigpt_core.errors import DataError, nearest
from midigpt_gigamidi.kinds import CATEGORY, INTEGER, INTEGERS, NUMBER, TEXT, TEXTS, Kind, is_binary
from midigpt_gigamidi.options import MUSIC

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

INSTRUMENTS_V2 = "instrument_category__drums-only__0__all-instruments-with-drums__1_no-drums__2"

ID, TRACKS, NOTES, NOMML = "id", "tracks", "notes", "nomml"
INSTRUMENTS, ARTIST, TEMPO = "instruments", "artist", "tempo"

#: The names of each role's column, the newest release's first, and what its values are.
ROLES: Mapping[str, tuple[tuple[str, ...], Kind]] = {
    ID: (("md5",), TEXT),
    TRACKS: (("num_tracks",), INTEGER),
    NOTES: (("total_notes",), INTEGER),
    NOMML: (("NOMML", "median_metric_depth"), INTEGERS),
    INSTRUMENTS: ((INSTRUMENTS_V2, "instrument_category"), CATEGORY),
    ARTIST: (("artist", "artist_scraped"), TEXTS),
    TEMPO: (("tempo",), NUMBER),
    "curated": (("music_styles_curated", "genres_curated"), TEXTS),
    "scraped": (("music_style_scraped", "genres_scraped"), TEXTS),
    "discogs": (("music_style_audio_text_Discogs", "genres_discogs"), TEXTS),
    "lastfm": (("music_style_audio_text_Lastfm", "genres_lastfm"), TEXTS),
    "tagtraum": (("music_style_audio_text_Tagtraum", "genres_tagtraum"), TEXTS),
}
#: Roles that every file is read for, besides those of styles and filters.
ALWAYS = (ID, TRACKS, NOTES, NOMML)

# Column names that a message shows, and characters of each.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 80
_MUSIC_KIND = "binary or a struct with binary 'bytes'"


@frozen
class Columns:
    """Which columns of a file are read."""

    music_is_struct: bool
    #: Column name of each role that the file has.
    names: Mapping[str, str]
    #: Columns that cannot be cast, as ``'name' (kind)``.
    odd: Sequence[str] = field(factory=list)

    @property
    def music(self) -> str:
        return f"{MUSIC}.bytes" if self.music_is_struct else MUSIC

    def of(self, roles: Iterable[str]) -> list[str]:
        """The columns of some roles, as far as the file has them."""
        return sorted({self.names[role] for role in roles if role in self.names})


def find_columns(schema: pa.Schema, path: str, roles: Collection[str]) -> Columns:
    """Raises :class:`DataError` if ``music`` is missing or of another kind, or a column that is read occurs twice."""
    if MUSIC not in schema.names:
        raise DataError(
            f"{path}: no column {MUSIC!r} (columns: {listed(schema.names)}). "
            f"Name GigaMIDI shards, or rename the column with the MIDI bytes to {MUSIC!r}."
        )
    names, odd = find_roles(schema, roles)
    _require_once([name for name in schema.names if name == MUSIC or name in names.values()], path, "")
    music = schema.field(MUSIC).type
    is_struct = pa.types.is_struct(music)
    if is_struct:
        _require_once([item.name for item in music], path, f"{MUSIC}.")
    content = next((item.type for item in music if item.name == "bytes"), pa.null()) if is_struct else music
    if not is_binary(content):
        raise DataError(
            f"{path}: column {MUSIC!r} is {_shown(music)}, expected {_MUSIC_KIND}. Write the column in that type."
        )
    return Columns(is_struct, names, odd)


def find_roles(schema: pa.Schema, roles: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """The column of each role that can be cast to its kind, and columns that cannot, as ``'name' (kind)``."""
    names: dict[str, str] = {}
    odd: list[str] = []
    for role in roles:
        known, kind = ROLES[role]
        for name in known:
            found = [item.type for item in schema if item.name == name]
            if found and kind.accepts(found[0]):
                names[role] = name
                break
            odd += [f"{name!r} ({_shown(found[0])})"] if found else []
    return names, odd


def require_columns(present: Sequence[str], wanted: Iterable[str], path: str) -> None:
    """Raise :class:`DataError` unless each column that ``source.columns`` or ``source.where`` names is there once."""
    for name in wanted:
        if name not in present:
            raise DataError(
                f"{path}: no column {name!r}, which source.columns or source.where names.{nearest(name, present)} "
                f"Its columns: {listed(present)}."
            )
    _require_once([name for name in present if name in wanted], path, "")


def _shown(kind: pa.DataType) -> str:
    return str(kind)[:_SHOWN_CHARACTERS]


def listed(names: Sequence[str]) -> str:
    """Some of the names, for a message."""
    shown = ", ".join(name[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else shown or "none"


def _require_once(names: Sequence[str], path: str, prefix: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        columns = ", ".join(repr(prefix + name) for name in twice)
        raise DataError(f"{path}: more than one column is called {columns}. Rename or remove all but one.")
