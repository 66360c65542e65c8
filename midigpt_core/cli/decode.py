"""``midigpt decode``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from midigpt_core import files
from midigpt_core.cli.echo import echo_line, remark_line
from midigpt_core.cli.encoder_choice import chosen_encoder, encoder_options
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.errors import ConfigError, DataError, EncodingError, nearest
from midigpt_core.files import read_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.score import Score

#: A MIDI file stores microseconds per quarter note in three bytes.
_LONGEST_TEMPO = (1 << 24) - 1
#: The most bytes of input. The tokens of a million notes take less.
_MOST_BYTES = 64 << 20


@attrs.frozen
class _Document:
    tokens: Sequence[object]
    #: Microseconds per quarter note, and the size of the vocabulary that the ids come from; None: not given.
    tempo: object = None
    vocab_size: object = None


@common_options
@click.command()
@click.argument("tokens_file", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="MIDI file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@encoder_options
@click.pass_context
def decode(
    ctx: click.Context,
    /,
    *,
    tokens_file: str,
    output: str,
    overwrite: bool,
    encoder_config: str | None,
    checkpoint: str | None,
) -> None:
    """Write the music of TOKENS_FILE (- for standard input) as a MIDI file.

    TOKENS_FILE is the output of 'midigpt encode', token names and ids separated by spaces, or a JSON list of them.
    """
    import numpy as np

    if Path(output).exists() and not overwrite:
        raise ConfigError(f"{output}: exists already. Choose another name, or add --overwrite.")
    files.require_writable(output)
    encoder = chosen_encoder(ctx, encoder_config, checkpoint)
    name = "standard input" if tokens_file == "-" else tokens_file
    document = _parse(_text(tokens_file, name), name)
    if document.vocab_size not in (None, encoder.vocab_size):
        raise EncodingError(
            f"{name}: the tokens are from a vocabulary of {document.vocab_size!r:.40}, this encoder's has "
            f"{encoder.vocab_size}. Name the encoder that made them."
        )
    tokens = np.array(_token_ids(document.tokens, encoder, name), np.int32)
    score = _with_tempo(encoder.decode(tokens), document.tempo, name)
    score.to_midi(output)
    columns = score.columns
    remark_line(f"Wrote {output}: {len(columns.track_program)} tracks, {len(columns.note_pitch)} notes.")
    if document.tempo is None:
        tempo = 60e6 / int(columns.tempo[0])
        echo_line(
            f"Tokens do not store the tempo: it was set to {tempo:g}. The output of 'encode --json' keeps it.", err=True
        )


def _text(path: str, name: str) -> str:
    try:
        if path == "-":
            with click.open_file(path, "rb") as stream:
                content: bytes = stream.read(_MOST_BYTES + 1)
            if len(content) > _MOST_BYTES:
                raise DataError(f"{name}: is larger than the limit of {_MOST_BYTES:,} bytes. Decode a part at a time.")
        else:
            content = read_bytes(path, _MOST_BYTES)
        return content.decode()
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{name}: cannot be read ({reason}). Check the path and its permissions.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: is not text. Give the output of 'midigpt encode'.") from error


def _parse(text: str, name: str) -> _Document:
    if not text.lstrip().startswith(("{", "[")):
        document = _Document(text.split())
    else:
        try:
            content: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: is not JSON ({error}). Give the output of 'midigpt encode --json'.") from error
        fields = content if isinstance(content, dict) else {"tokens": content}
        if not isinstance(fields.get("tokens"), list):
            raise DataError(f"{name}: has no list 'tokens'. Give the output of 'midigpt encode --json'.")
        document = _Document(fields["tokens"], fields.get("tempo"), fields.get("vocab_size"))
    if not document.tokens:
        raise DataError(f"{name}: there are no tokens. Give the output of 'midigpt encode'.")
    return document


def _token_ids(tokens: Sequence[object], encoder: Encoder, name: str) -> list[int]:
    """The ids of tokens given by name or id. Raises EncodingError naming the first that the encoder does not have."""
    vocabulary = encoder.vocabulary
    names = {vocabulary.name(token): token for token in range(vocabulary.size)}
    ids = names | {str(token): token for token in range(vocabulary.size)}
    found = []
    for position, token in enumerate(tokens):
        key = str(token) if isinstance(token, int) and not isinstance(token, bool) and 0 <= token < 1 << 31 else token
        if not isinstance(key, str) or key not in ids:
            spelled = f"{token!r:.40}"
            hint = nearest(key[:40], names) if isinstance(key, str) else ""
            raise EncodingError(
                f"{name}: token {position} is {spelled}, which is not among the encoder's {vocabulary.size}.{hint} "
                "Decode with the encoder that made the tokens."
            )
        found.append(ids[key])
    return found


def _with_tempo(score: Score, tempo: object, name: str) -> Score:
    """Replace the decoder's tempo by the document's, if it has one: no token stores the tempo."""
    import numpy as np

    if tempo is None:
        return score
    if not isinstance(tempo, int) or isinstance(tempo, bool) or not 0 < tempo <= _LONGEST_TEMPO:
        raise DataError(
            f"{name}: tempo is {tempo!r:.40}, not microseconds per quarter note up to {_LONGEST_TEMPO}. Correct it."
        )
    columns = attrs.evolve(score.columns, tempo=np.array([tempo], np.int32))
    return attrs.evolve(score, columns=columns)
