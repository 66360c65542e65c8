"""``midigpt encode``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from midigpt_core.cli.echo import echo_json, echo_lines
from midigpt_core.cli.encoder_choice import chosen_encoder, encoder_options
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.cli.places import bars_of, tracks_of
from midigpt_core.errors import EncodingError
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midigpt_core.records import Vocabulary

#: Token types that begin a line of text.
_LINE_STARTS = frozenset({"Track", "TrackEnd", "Bar", "FillInStart"})


def _bars(ctx: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    return None if text is None else bars_of(text)


def _tracks(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
    return None if text is None else tracks_of(text)


def _cells(ctx: click.Context, parameter: click.Parameter, text: str | None) -> list[tuple[int, int]]:
    if text is None:
        return []
    cells = [re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", cell) for cell in text.split(",")]
    if None in cells:
        raise click.BadParameter(f"{text!r} is not a list of cells. Write TRACK:BAR separated by commas, e.g. 0:1,2:3.")
    return [(int(cell[1]), int(cell[2])) for cell in cells if cell is not None]


@common_options
@click.command()
@click.argument("file", type=PATH)
@encoder_options
@click.option(
    "--bars",
    metavar="A-B",
    callback=_bars,
    help="Bars A to B, counted from 0; as many as a window of the encoder has.  [default: all]",
)
@click.option("--tracks", metavar="T,...", callback=_tracks, help="Tracks to encode, counted from 0, in this order.")
@click.option("--infill", metavar="T:B,...", callback=_cells, help="Bars to fill in, as track:bar of the file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON with token ids, which 'midigpt decode' reads.")
@click.pass_context
def encode(
    ctx: click.Context,
    /,
    *,
    file: str,
    encoder_config: str | None,
    checkpoint: str | None,
    bars: tuple[int, int] | None,
    tracks: list[int] | None,
    infill: list[tuple[int, int]],
    as_json: bool,
) -> None:
    """Print the tokens of FILE, a MIDI file: by name, one bar per line, or as JSON."""
    from midigpt_core.encoding.encode_one import encode_part, part_of
    from midigpt_core.score import Score

    encoder = chosen_encoder(ctx, encoder_config, checkpoint)
    score = Score.from_midi(file)
    try:
        part = part_of(score, bars=bars, tracks=tracks, infill=infill)
        tokens = encode_part(encoder, score, part).tolist()
    except EncodingError as error:
        raise EncodingError(f"{file}: {error}") from error
    if not as_json:
        echo_lines("\n".join(_lines(encoder.vocabulary, tokens)))
        return
    document = {
        "file": file,
        "bars": [part.first_bar, part.last_bar],
        "tracks": part.tracks,
        "infill": part.infill,
        "tempo": score.tempo,
        "vocab_size": encoder.vocab_size,
        "tokens": tokens,
    }
    echo_json(document, indent=None)


def _lines(vocabulary: Vocabulary, tokens: Iterable[int]) -> list[str]:
    lines: list[list[str]] = [[]]
    for token in tokens:
        name = printable(vocabulary.name(token), None)
        if name.partition("(")[0] in _LINE_STARTS and lines[-1]:
            lines.append([])
        lines[-1].append(name)
    return [" ".join(line) for line in lines]
