"""The options of the source ``gigamidi``: which rows it keeps, and where style names come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs
from attrs import field, frozen
from attrs.validators import and_, ge, le, optional

from midigpt_core.config.wording import spell
from midigpt_core.corpus.conditions import Condition, condition
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from attrs import Attribute

StyleSource = Literal["curated", "scraped", "discogs", "lastfm", "tagtraum"]
STYLE_SOURCES: tuple[StyleSource, ...] = ("curated", "scraped", "discogs", "lastfm", "tagtraum")

MUSIC = "music"
DRUMS_ONLY, ALL_WITH_DRUMS, NO_DRUMS = "drums-only", "all-instruments-with-drums", "no-drums"
Instruments = Literal["drums-only", "all-instruments-with-drums", "no-drums"]

#: The highest NOMML level: an expressive performance.
HIGHEST_NOMML = 12
_MOST = 1 << 31
_MOST_TEMPO = 60_000_000


def _count() -> Any:
    return field(default=None, validator=optional(and_(ge(0), le(_MOST))))


def _tempo() -> Any:
    return field(default=None, validator=optional(and_(ge(0.0), le(float(_MOST_TEMPO)))))


def _check_names(_options: object, attribute: Attribute[Any], names: tuple[str, ...]) -> None:
    if not all(name.strip() for name in names):
        raise ValueError(f"{attribute.name} has an empty name")


def _check_conditions(_options: object, _attribute: Attribute[Any], texts: tuple[str, ...]) -> None:
    for text in texts:
        condition(text)


def _names() -> Any:
    return field(default=(), validator=_check_names)


@frozen(kw_only=True)
class GigamidiOptions:
    #: Columns that style names come from: of each row the first that has any. In the order of their names in the data
    #: set: curated, scraped, and by audio-text match discogs, lastfm, tagtraum.
    styles: tuple[StyleSource, ...] = STYLE_SOURCES
    #: Keep pieces with a track of at least this NOMML level, 0 to 12; 12 is an expressive performance.
    min_nomml: int | None = field(default=None, validator=optional(and_(ge(0), le(HIGHEST_NOMML))))
    #: Keep pieces of these instrument categories.
    instruments: tuple[Instruments, ...] = ()
    #: Keep pieces with one of these styles, by whole names in any case.
    styles_in: tuple[str, ...] = _names()
    #: Leave out pieces with one of these styles.
    styles_out: tuple[str, ...] = _names()
    #: Keep pieces by one of these artists, by whole names in any case.
    artists_in: tuple[str, ...] = _names()
    #: Leave out pieces by one of these artists.
    artists_out: tuple[str, ...] = _names()
    #: Notes of a piece, according to the metadata.
    min_notes: int | None = _count()
    max_notes: int | None = _count()
    #: Tracks of a piece, according to the metadata.
    min_tracks: int | None = _count()
    max_tracks: int | None = _count()
    #: Bars of a piece, counted when it is parsed.
    min_bars: int | None = _count()
    max_bars: int | None = _count()
    #: First tempo of a piece in beats per minute, according to the metadata.
    min_tempo: float | None = _tempo()
    max_tempo: float | None = _tempo()
    #: Columns that the corpus keeps as metadata of its pieces, by their names in the data set.
    columns: tuple[str, ...] = _names()
    #: Keep pieces for which all of these hold: a column of the data set, ==, !=, <, <=, > or >=, and a number or text.
    where: tuple[str, ...] = field(default=(), validator=_check_conditions)
    #: The CSV of the raw layout: then the data are archives of <md5>.mid, and their metadata is in it.
    metadata: str = ""
    #: Whether shards from the Hub stay in huggingface_hub's cache after they were parsed.
    keep_downloads: bool = True

    def __attrs_post_init__(self) -> None:
        for what in ("notes", "tracks", "bars", "tempo"):
            least, most = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if least is not None and most is not None and least > most:
                raise ConfigError(
                    f"source.min_{what} = {spell(least)} is above source.max_{what} = {spell(most)}, so no piece would "
                    "be kept. Change one of them."
                )
        for what in ("styles", "columns"):
            if len(set(getattr(self, what))) < len(getattr(self, what)):
                raise ConfigError(f"source.{what} names a column twice. Name each once.")
        if MUSIC in self.columns:
            raise ConfigError(f"source.columns names {MUSIC!r}, which is the music itself. Leave it out.")
        if MUSIC in [one.column for one in self.conditions]:
            raise ConfigError(f"source.where compares {MUSIC!r}, which is the music itself. Compare another column.")

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Those of ``where``."""
        return tuple(map(condition, self.where))

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns of ``columns`` and ``where``, each once."""
        return tuple(dict.fromkeys([*self.columns, *(one.column for one in self.conditions)]))

    def row_options(self) -> dict[str, Any]:
        """The options that rows depend on and that are not at their defaults, as plain values."""
        defaults = GigamidiOptions()
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in attrs.asdict(self, recurse=False).items()
            # The content of the metadata is part of a shard's fingerprint.
            if value != getattr(defaults, name) and name not in ("keep_downloads", "metadata")
        }
