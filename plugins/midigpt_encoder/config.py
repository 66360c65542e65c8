"""Encoder configurations: the JSON of presets, files and bundles.

The rules follow the format of the public encoder 0.4: unknown keys, which some older files have, are left out with a
warning; integers may be written as reals; null is never a value. The ranges that memory safety depends on are checked
in one place, where the native tables are built (``csrc/vocab/codebook.cpp``).
"""

from __future__ import annotations

import json
import re
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from attrs import evolve, fields_dict, frozen

from midigpt_core import terminal
from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError
from midigpt_core.files import read_bytes
from midigpt_core.records import INFILL_POSITIONS, PLACEHOLDER
from midigpt_encoder import _encoder
from midigpt_encoder.data_files import density_edges, load_preset, preset_names
from midigpt_encoder.plugin_attributes import read_attribute, stored
from midigpt_encoder.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from midigpt_core.contracts import PluginAttribute

_log = terminal.logger(__name__)

_TIME_SIGNATURE = re.compile(r"\s{0,9}(\d{1,18})\s{0,9}/\s{0,9}(\d{1,18})\s{0,9}")
#: The most bytes of a file. Presets have a few thousand.
_MOST_BYTES = 1 << 20
#: The most bars of a window: no file may have more (docs/limits.md).
_MOST_BARS = 20_000

#: Every spelling of a token type -> its canonical name.
CANONICAL_TYPE: Mapping[str, str] = MappingProxyType(
    {
        spelling: name
        for _, name, legacy_name, alias in _encoder.token_types()
        for spelling in (name, legacy_name, alias)
        if spelling
    }
)

_CONTROLS: Mapping[str, Mapping[str, Any]] = {row["name"]: row for row in _encoder.attribute_controls()}
_TRACK_TYPES = ("melodic", "drum", "both")
_MODES = ("min", "max")
_ATTRIBUTES = "attributes"
_SIGNED: Literal["signed"] = "signed"


@frozen(kw_only=True)
class AttributeControl:
    """One entry of ``attribute_controls`` with its defaults filled in."""

    name: str
    #: ``"track"`` or ``"bar"``.
    level: str
    #: ``"melodic"``, ``"drum"`` or ``"both"``: the tracks it applies to.
    track_type: str
    #: ``"min"`` or ``"max"``; empty for controls without one.
    mode: str = ""

    def to_dict(self) -> dict[str, Any]:
        info = _CONTROLS[self.name]
        params = {"mode": self.mode} if self.mode else {}
        if info["takes_parameters"]:
            params |= {"level": self.level, "track_type": self.track_type}
        return {"name": self.name, "params": params}


@frozen(kw_only=True, slots=False)
class EncoderConfig:
    """A validated encoder configuration (docs/encoder-specification.md, B.1). Made by :meth:`from_mapping`."""

    #: Ticks per quarter note of positions, durations and attributes.
    resolution: int = 480
    #: Ticks per quarter note of decoded scores.
    decode_resolution: int = 480
    #: ``"signed"``: onsets are rounded to the nearest position; deltas have a sign, and each fits its token.
    emit_delta_tokens: bool | Literal["signed"] = False
    supports_infill: bool = False
    #: Positions of the tokens of fill blocks (docs/infilling.md); None: ``sequence``, or as the run is configured.
    infill_positions: str | None = None
    supports_mask_bar_token: bool = False
    #: Write a velocity only if it differs from the previous one in the bar.
    velocity_sticky: bool = True
    switchable_velocity: bool = False
    switchable_microtiming: bool = False
    pitch_range: tuple[int, int] = (0, 127)
    velocity_levels: int = 32
    note_duration_max_beats: int = 8
    #: (numerator, denominator) pairs; empty: signatures are not written.
    time_signatures: tuple[tuple[int, int], ...] = ()
    instrument_merge_groups: tuple[tuple[int, ...], ...] = ()
    #: Canonical style names with their aliases.
    genre_groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    #: Window sizes in bars that can be announced; empty: none is announced.
    num_bars_map: tuple[int, ...] = ()
    attribute_controls: tuple[AttributeControl, ...] = ()
    #: (canonical type, size); empty: derived from the other fields.
    token_domains: tuple[tuple[str, int], ...] = ()
    #: Attribute controls of plugins: their tokens follow all others.
    attributes: tuple[PluginAttribute, ...] = ()

    @classmethod
    def from_mapping(
        cls,
        content: Mapping[str, Any],
        origin: str = "encoder configuration",
        found: Sequence[PluginAttribute] | None = None,
    ) -> EncoderConfig:
        """The configuration in parsed JSON. Raises ConfigError naming ``origin`` and the field.

        ``found``: its attribute controls of plugins, which are then not looked up.
        """
        reader = Reader(origin)
        known = reader.mapping(content, "", fields_dict(cls))
        fields = _FIELDS if found is None else {name: read for name, read in _FIELDS.items() if name != _ATTRIBUTES}
        values = {name: read(reader, known[name], name) for name, read in fields.items() if name in known}
        if found is not None:
            values[_ATTRIBUTES] = tuple(found)
        # Switchable microtiming needs delta tokens, even if emit_delta_tokens is false.
        if values.get("switchable_microtiming"):
            values["emit_delta_tokens"] = values.get("emit_delta_tokens") or True
        if reader.ignored:
            _log.warning("%s: left out unknown keys: %s", origin, ", ".join(reader.ignored))
        return cls(**values)._checked(origin)

    def _checked(self, origin: str) -> EncoderConfig:
        try:
            _ = self.codebook
        except ValueError as error:
            raise ConfigError(f"{origin}: {error}. Correct this field.") from error
        return self

    @classmethod
    def from_file(cls, path: Path, found: Sequence[PluginAttribute] | None = None) -> EncoderConfig:
        """The configuration in a JSON file. Raises ConfigError naming the file and the field or line."""
        try:
            content = json.loads(read_bytes(path, _MOST_BYTES).decode())
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(
                f"{path}: cannot be read ({reason}). Give a readable file or a preset: {', '.join(preset_names())}."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{path}: is neither JSON nor text. Name a JSON file or a preset; for the encoder of a bundle use "
                "--checkpoint."
            ) from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: is not JSON ({error}). Correct the file.") from error
        return cls.from_mapping(content, str(path), found)

    @classmethod
    def from_preset(cls, name: str, found: Sequence[PluginAttribute] | None = None) -> EncoderConfig:
        """The preset ``name``. Raises ConfigError if there is no such preset."""
        return cls.from_mapping(load_preset(name), f"preset {name}", found)

    def with_attributes(self, attributes: Sequence[PluginAttribute]) -> EncoderConfig:
        """This configuration with these attribute controls of plugins in place of its own. Raises ConfigError."""
        return evolve(self, attributes=tuple(attributes))._checked("encoder configuration")

    def with_placeholder_positions(self) -> EncoderConfig:
        """This configuration with ``placeholder`` positions. Raises ConfigError if it has no tokens for infilling."""
        return evolve(self, infill_positions=PLACEHOLDER)._checked("encoder configuration")

    @cached_property
    def codebook(self) -> _encoder.Codebook:
        """The native tables of this configuration. Raises ValueError naming the field."""
        settings = {name: getattr(self, name) for name in fields_dict(type(self))}
        settings |= {
            "num_genres": len(settings.pop("genre_groups")),
            "attribute_controls": [(c.name, c.level, c.track_type, c.mode) for c in self.attribute_controls],
            "density_edges": density_edges(),
            "emit_delta_tokens": bool(self.emit_delta_tokens),
            "signed_deltas": self.emit_delta_tokens == _SIGNED,
            "placeholder_positions": settings.pop("infill_positions") == PLACEHOLDER,
            "external_attributes": [(a.name, a.level, a.track_type, a.levels) for a in settings.pop("attributes")],
        }
        return _encoder.Codebook(settings)

    @cached_property
    def genre_ids(self) -> Mapping[str, int]:
        """ASCII lower-case style names and aliases -> genre id. Ids number the canonical names in byte order; a name
        in several groups belongs to the last of them."""
        ids: dict[str, int] = {}
        for index, (name, aliases) in enumerate(sorted(self.genre_groups, key=lambda group: group[0].encode())):
            ids |= {genre_key(spelling): index for spelling in (name, *aliases)}
        return ids

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values, ``token_domains`` in full: what bundles store. Reading it back gives an equal
        vocabulary and the same dictionary again."""
        content: dict[str, Any] = {name: getattr(self, name) for name in fields_dict(type(self))}
        # Only stored if not the default, so that other configurations have exactly the public package's keys.
        if content["infill_positions"] != PLACEHOLDER:
            del content["infill_positions"]
        del content["attributes"]
        if self.attributes:
            content["attributes"] = [stored(attribute) for attribute in self.attributes]
        return content | {
            "pitch_range": list(self.pitch_range),
            "time_signatures": [f"{numerator}/{denominator}" for numerator, denominator in self.time_signatures],
            "instrument_merge_groups": [list(group) for group in self.instrument_merge_groups],
            "genre_groups": {name: list(aliases) for name, aliases in self.genre_groups},
            "num_bars_map": list(self.num_bars_map),
            "attribute_controls": [control.to_dict() for control in self.attribute_controls],
            "token_domains": [{"type": name, "domain_size": size} for name, size in self.codebook.domains],
        }

    def __getstate__(self) -> dict[str, Any]:
        # Native tables are not pickled; the other process rebuilds them.
        return {name: getattr(self, name) for name in fields_dict(type(self))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def genre_key(name: str) -> str:
    """The key of a style name in :attr:`EncoderConfig.genre_ids`: ASCII letters in lower case."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def _pitch_range(reader: Reader, value: Any, path: str) -> tuple[int, ...]:
    pitches = reader.items(value, path, reader.integer)
    if len(pitches) != 2:
        raise reader.error(path, "must be two pitches, the lowest and the highest.")
    return pitches


def _window(reader: Reader, value: Any, path: str) -> int:
    bars = reader.integer(value, path)
    if not 1 <= bars <= _MOST_BARS:
        raise reader.error(path, f"a window cannot have {bars} bars. Write 1 to {_MOST_BARS}.")
    return bars


def _deltas(reader: Reader, value: Any, path: str) -> bool | str:
    if value == _SIGNED:
        return _SIGNED
    if not isinstance(value, bool):
        raise reader.error(path, f"{spell(value)} is not valid here. Write true, false or {_SIGNED!r}.")
    return value


def _infill_positions(reader: Reader, value: Any, path: str) -> str:
    return reader.name(value, path, "way to number filled bars", INFILL_POSITIONS)


def _time_signature(reader: Reader, value: Any, path: str) -> tuple[int, int]:
    match = _TIME_SIGNATURE.fullmatch(reader.string(value, path))
    if match is None:
        raise reader.error(path, f"{spell(value)} is not a time signature. Write it like '4/4'.")
    numerator, denominator = int(match[1]), int(match[2])
    if denominator == 0:
        raise reader.error(path, f"{spell(value)} has denominator 0. Write it like '4/4'.")
    return reader.integer(numerator, path), reader.integer(denominator, path)


def _genre_groups(reader: Reader, value: Any, path: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups = reader.mapping(value, path)
    return tuple(
        (reader.string(name, path), reader.items(aliases, f"{path}.{name}", reader.string))
        for name, aliases in groups.items()
    )


def _attribute_control(reader: Reader, value: Any, path: str) -> AttributeControl:
    entry = reader.mapping(value, path, ("name", "params"))
    if "name" not in entry:
        raise reader.error(path, "has no 'name'. Write one of " + ", ".join(sorted(_CONTROLS)) + ".")
    name = reader.name(entry["name"], f"{path}.name", "attribute control", _CONTROLS)
    info = _CONTROLS[name]
    known = ("level", "track_type") * info["takes_parameters"] + ("mode",) * info["needs_mode"]
    params = reader.mapping(entry.get("params", {}), f"{path}.params", known)
    if info["needs_mode"] and "mode" not in params:
        raise reader.error(f"{path}.params", f"{name} needs 'mode'. Write 'min' or 'max'.")

    def choice(key: str, choices: tuple[str, ...], default: str) -> str:
        if key not in known or key not in params:
            return default
        return reader.name(params[key], f"{path}.params.{key}", key, choices)

    return AttributeControl(
        name=name,
        level=choice("level", tuple(info["levels"]), info["level"]),
        track_type=choice("track_type", _TRACK_TYPES, info["track_type"]),
        mode=choice("mode", _MODES, ""),
    )


def _token_domain(reader: Reader, value: Any, path: str) -> tuple[str, int]:
    entry = reader.mapping(value, path, ("type", "domain_size"))
    for key in ("type", "domain_size"):
        if key not in entry:
            raise reader.error(path, f"has no {key!r}. Write an object with 'type' and 'domain_size'.")
    name = reader.name(entry["type"], f"{path}.type", "token type", CANONICAL_TYPE)
    return CANONICAL_TYPE[name], reader.integer(entry["domain_size"], f"{path}.domain_size")


def _list_of(read: Callable[[Reader, Any, str], Any]) -> Callable[[Reader, Any, str], tuple[Any, ...]]:
    return lambda reader, value, path: reader.items(value, path, partial(read, reader))


_FIELDS: Mapping[str, Callable[[Reader, Any, str], Any]] = {
    "resolution": Reader.integer,
    "decode_resolution": Reader.integer,
    "emit_delta_tokens": _deltas,
    "supports_infill": Reader.boolean,
    "infill_positions": _infill_positions,
    "supports_mask_bar_token": Reader.boolean,
    "velocity_sticky": Reader.boolean,
    "switchable_velocity": Reader.boolean,
    "switchable_microtiming": Reader.boolean,
    "pitch_range": _pitch_range,
    "velocity_levels": Reader.integer,
    "note_duration_max_beats": Reader.integer,
    "time_signatures": _list_of(_time_signature),
    "instrument_merge_groups": _list_of(_list_of(Reader.integer)),
    "genre_groups": _genre_groups,
    "num_bars_map": _list_of(_window),
    "attribute_controls": _list_of(_attribute_control),
    "token_domains": _list_of(_token_domain),
    "attributes": _list_of(read_attribute),
}
