"""``midigpt inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from midigpt_core import files
from midigpt_core.checkpoint import report
from midigpt_core.checkpoint.copy_rates import copy_rates
from midigpt_core.checkpoint.layouts import LAYOUTS
from midigpt_core.checkpoint.licences import licence_of
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.cli import piece
from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.options import BUNDLE, common_options, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.corpus.detection import is_music
from midigpt_core.errors import CheckpointError, DataError
from midigpt_core.paths import usable_path
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from midigpt_core.plugins import Registry

_MIDI = b"MThd"
_MIDI_SUFFIXES = (".mid", ".midi", ".kar", ".rmi")
_COMPONENT_PARTS = ("name", "plugin", "distribution", "version", "options_sha256")


@common_options
@click.command()
@click.argument("file", type=BUNDLE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the whole encoder configuration.")
@click.pass_context
def inspect(ctx: click.Context, file: str, as_json: bool) -> None:
    """Show what a bundle is and who made it, or what a MIDI file contains.

    Of a bundle, reads the header only, no tensor. Of a MIDI file, lists tracks with name, instrument, notes and range,
    bars, time signatures and tempo, and which encoder presets can write it.
    """
    plugins = registry(ctx)
    if _is_midi(file):
        _inspect_song(file, plugins, as_json=as_json)
        return
    try:
        found = report.inspect(fetched(file))
    except CheckpointError as error:
        if is_music(plugins, file):
            raise DataError(
                f"{file}: music, no bundle. 'midigpt corpus info {file}' describes it, and 'midigpt inspect FILE' one "
                "MIDI file."
            ) from error
        raise
    if as_json:
        echo_json(found.to_dict())
        return
    rows = [(printable(name), printable(value)) for name, value in _facts(found)]
    echo_lines(table(("bundle", printable(found.path)), rows))
    components = mapping_or_empty(found.provenance.get("components"))
    if components:
        made_with = [(printable(kind), *_component(made_of)) for kind, made_of in components.items()]
        echo_line()
        echo_lines(table(("component", "name", "plugin", "distribution", "version", "options"), made_with))


def _is_midi(file: str) -> bool:
    """Whether a file is MIDI by its first bytes or by its name."""
    if file.lower().endswith(_MIDI_SUFFIXES):
        return True
    path = usable_path(file)
    try:
        with files.open_regular(path) as stream:
            return stream.read(len(_MIDI)) == _MIDI
    except OSError:
        # A folder can be a bundle, and what cannot be read is reported when the bundle is read.
        return False


def _inspect_song(file: str, plugins: Registry, *, as_json: bool) -> None:
    from midigpt_core.score import Score
    from midigpt_core.score.reading import file_content
    from midigpt_core.score.track_names import track_names

    midi = file_content(file)
    score = Score.from_bytes(midi, name=file)
    content = {**piece.listing(score, None, track_names(midi)), "presets": piece.presets(score, plugins)}
    if as_json:
        echo_json({"input": file, **content})
        return
    echo_lines("\n".join(piece.listing_lines(printable(file, None), content)))


def _facts(found: report.BundleReport) -> Iterator[tuple[str, Any]]:
    yield "format", f"{found.format}, {found.bytes:,} bytes"
    yield "architecture", f"{found.architecture} ({_listed(found.architecture_config)})"
    counted = "" if found.architecture in LAYOUTS else " numbers in its tensors"
    yield "parameters", "unknown" if found.parameters is None else f"{found.parameters:,}{counted}"
    yield "encoder", f"{found.encoder}, {len(found.encoder_config)} fields, sha256 {found.encoder_sha256[:12]}"
    yield "infill positions", found.infill_positions
    yield "vocabulary", f"{found.vocab_size} tokens"
    yield "licence", licence_of(found.path, found.provenance) or "not stated"
    if not found.provenance:
        yield "provenance", "none: the file does not say who made it"
    for name, value in found.provenance.items():
        if name == "copies" and isinstance(value, dict):
            for where, rates in copy_rates(found.provenance):
                yield f"copies in {where}", rates
        elif name != "components":
            yield name, _listed(value) if isinstance(value, dict) else "unknown" if value == "" else value


def _component(made_of: object) -> list[str]:
    parts = mapping_or_empty(made_of)
    return [printable(parts.get(part, "-"), 12 if part == "options_sha256" else 40) for part in _COMPONENT_PARTS]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
