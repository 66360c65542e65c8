"""``midigpt generate``."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from midigpt_core import files
from midigpt_core.cli import asked, piece
from midigpt_core.cli.echo import echo_json, echo_line, echo_lines, remark_lines
from midigpt_core.cli.options import BUNDLE, NAME, PATH, common_options, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.errors import ConfigError, DataError
from midigpt_core.interrupts import Interrupts
from midigpt_core.paths import usable_path
from midigpt_core.system.ending import end_by
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import FrameType

    from midigpt_core.audio.rendering import Format
    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.inference import InferenceEngine, SamplingSession
    from midigpt_core.inference.outcome import Listening, Reached, TrackOutcome
    from midigpt_core.score import Score

#: Flags that request music. So does --continue, even with the value 0.
_ASKS = ("tracks", "bars", "new_tracks", "autoregressive", "attributes", "bar_controls", *asked.NOTE_FLAGS)
#: How many sets of context tracks the summary names for each track written.
_MOST_LISTENINGS = 4
#: How many ranges of candidates a line names.
_MOST_RANGES = 6
#: The exit code of a command that Ctrl-C ended.
_INTERRUPTED = 130


def _once(ctx: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> str | None:
    """Reject an option that is given twice: click would use the last value and ignore the others."""
    if len(given) > 1:
        hint = "Give all tracks at once: --track 0,2." if parameter.name == "tracks" else "Give one range at a time."
        raise click.BadParameter(f"is given {len(given)} times. {hint}")
    return given[0] if given else None


@common_options
@click.command()
@click.option("--checkpoint", type=BUNDLE, metavar="BUNDLE", help="Bundle of the model.  [required to write]")
@click.option("--adapter", type=PATH, metavar="FILE", help="Adapter of the model, or a run's folder with one.")
@click.option("--input", "input_file", type=PATH, metavar="FILE", help="MIDI file to work on.  [default: a new piece]")
@click.option(
    "--track",
    "tracks",
    multiple=True,
    callback=_once,
    metavar="T,...",
    help="Tracks in which to write --bars, counted from 0.",
)
@click.option(
    "--bars",
    multiple=True,
    callback=_once,
    metavar="A-B",
    help="Bars A to B, counted from 0.  [default: all bars of a new track]",
)
@click.option("--new-track", "new_tracks", multiple=True, metavar="program=P|drums", help="Add a track and write it.")
@click.option(
    "--continue",
    "continue_bars",
    type=int,
    metavar="N",
    help="Add N bars at the end and write them, in all tracks with notes or in --track.",
)
@click.option("--autoregressive", is_flag=True, help="Write --bars of --track from left to right instead of infilling.")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="[T:]NAME=LEVEL",
    help="Set an attribute control to a level, for all tracks that are written or for track T.",
)
@click.option(
    "--scale",
    multiple=True,
    metavar="[T:]ROOT NAME",
    help='Write only pitches of a scale, e.g. "D dorian". Not for drums.',
)
@click.option(
    "--pitches", multiple=True, metavar="[T:]P,...", help="Write only these MIDI pitches, e.g. 36,38 or 48-72."
)
@click.option(
    "--pitch-shape",
    multiple=True,
    metavar="[T:]SHAPE",
    help="Prefer pitches: normal:60,7 around 60, or uniform:48,72 within a range.",
)
@click.option(
    "--rhythm",
    multiple=True,
    metavar="[T:]TICKS|GRID",
    help="Notes begin at these ticks of each bar, 0,9x2,24 (two at 9), or on a grid: eighth, eighth:0.8 (less strict).",
)
@click.option(
    "--remix",
    multiple=True,
    metavar="[T:]SHARE[,full]",
    help="Change the pitches of a share of the notes and keep the rest; full: also their durations and velocities.",
)
@click.option("--time-signature", multiple=True, metavar="[T:]N/D", help="Write the bars in this time signature.")
@click.option(
    "--bar-control",
    "bar_controls",
    multiple=True,
    metavar="[T:]A-B:NAME=VALUE",
    help="One of the six options above for bars A to B alone, e.g. 6-7:rhythm=quarter.",
)
@click.option("--genre", type=NAME, metavar="NAME", help="Write in a genre that the model knows.")
@click.option("--no-velocity", is_flag=True, help="Write all notes equally loud, with a model that can.")
@click.option("--no-microtiming", is_flag=True, help="Write all notes on the grid, with a model that can.")
@click.option("--shuffle", is_flag=True, help="Fill in the steps of the plan in a random order.")
@click.option("--infill-probability", type=float, metavar="P", help="Fill in only a random share of the bars.")
@click.option("--novel", is_flag=True, help="Try again where a bar was written that the model was trained on.")
@click.option(
    "--copy-index",
    type=PATH,
    metavar="FILE",
    help="The bars that it was trained on, for --novel.  [default: copies.npy in the bundle's folder]",
)
@click.option("--candidates", type=int, metavar="N", help="Number of variations to write.  [default: 1]")
@click.option("--seed", type=int, help="The same seed and request give the same music.  [default: random]")
@click.option("--temperature", type=float, help="Above 1: more varied; below 1: more predictable.  [default: 1]")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any other field of InferenceConfig.")
@click.option("--device", type=NAME, metavar="DEVICE", help="cpu, cuda, …  [default: the GPU if there is one]")
@click.option(
    "--precision",
    default="float32",
    show_default=True,
    help="Precision of the weights: float32 (fp32), bfloat16 (bf16) or int8.",
)
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FOLDER",
    help="Folder for the MIDI files, their piano rolls and their sound.  [required to write]",
)
@click.option(
    "--audio",
    "audio",
    is_flag=False,
    flag_value="ogg",
    type=click.Choice(["ogg", "wav"]),
    help="Also write each candidate as sound: ogg (also if no format follows) or wav.",
)
@click.option(
    "--soundfont",
    type=PATH,
    metavar="FILE",
    help="SoundFont bank for --audio.  [default: MIDIGPT_SOUNDFONT, else one that the system has]",
)
@click.option("--overwrite", is_flag=True, help="Replace files of an earlier run.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def generate(
    ctx: click.Context,
    /,
    *,
    checkpoint: str | None,
    adapter: str | None,
    input_file: str | None,
    copy_index: str | None,
    device: str | None,
    precision: str,
    output: str | None,
    audio: Format | None,
    soundfont: str | None,
    overwrite: bool,
    as_json: bool,
    assignments: tuple[str, ...],
    **flags: Any,
) -> int:
    """Write music with a trained model: fill in bars, add a track, or continue a piece.

    Writes a MIDI file and a piano roll for each candidate; new notes are drawn in another colour. --audio adds a file
    to listen to. With --input alone, lists the tracks of the piece and the requests that you can make.
    """
    from midigpt_core.checkpoint import build_encoder, read_header
    from midigpt_core.checkpoint.adapter_files import read_adapter_header
    from midigpt_core.inference import RequestValidationError
    from midigpt_core.inference.trained import trained_windows

    if input_file is not None and not any(flags[name] for name in _ASKS) and flags["continue_bars"] is None:
        _list_piece(ctx, input_file, checkpoint, as_json=as_json)
    if checkpoint is None or output is None:
        missing = "'--checkpoint'" if checkpoint is None else "'-o' / '--output'"
        raise click.UsageError(f"Missing option {missing}.", ctx)
    of_config = {name: flags.pop(name) for name in ("seed", "temperature", "infill_probability")}
    of_config |= {"num_candidates": flags.pop("candidates")}
    of_config |= {name: flags.pop(name) or None for name in ("shuffle", "novel")}
    flags["note_options"] = {name.replace("_", "-"): flags.pop(name) for name in asked.NOTE_FLAGS}
    wanted = asked.read_flags(asked.Flags(has_input=input_file is not None, **flags))
    config, problems = asked.config_of(assignments, of_config)
    if wanted.problems or problems:
        raise RequestValidationError([*wanted.problems, *problems, *asked.wrong_fields(config)])
    registry(ctx)
    header = read_header(checkpoint := fetched(checkpoint))
    encoder = build_encoder(header)
    provenance = (header if adapter is None else read_adapter_header(adapter)).provenance
    trained = trained_windows(encoder, provenance)
    content, given = (None, None) if input_file is None else _read(input_file)
    score = asked.score_of(wanted, given)
    request = asked.request_of(wanted, score, encoder, config, trained)
    stem = "new" if input_file is None else Path(input_file).stem
    paths = [Path(output) / f"{stem}-{number}.mid" for number in range(1, request.config.num_candidates + 1)]
    bank = _bank(ctx, audio, soundfont)
    known = _known_bars(ctx, provenance, adapter or checkpoint, copy_index, novel=request.config.novel)
    if not request.config.plan_only:
        _require_free(paths, (".mid", ".png", *_sound_suffix(audio)), overwrite=overwrite)

    session = _engine(checkpoint, adapter, device, precision, known).session(score, request)
    if request.config.plan_only:
        echo_json(session.plan_summary())
        return 0
    from midigpt_core.cli.generation_progress import generation_progress
    from midigpt_core.inference.outcome import outcomes

    with _Stopping(session) as stopping:
        with generation_progress() as progress:
            scores = session.run_variations(progress)
        stopping.run_is_over()
        found = outcomes(session, scores, session.encoder)
        remarks: dict[str, None] = {}
        for path, music, written in zip(paths, scores, session.generated_bars, strict=True):
            remarks |= dict.fromkeys(_write(music, path, content, input_file))
            _draw(path, music, written)
        remarks |= dict.fromkeys(_write_audio(paths, bank, audio))
    if as_json:
        echo_json(_as_json(session, paths, found, [*remarks], audio))
    else:
        remark_lines("\n".join([_as_text(session, paths, found), *remarks]))
    return _INTERRUPTED if session.cancelled else 0


def _read(input_file: str) -> tuple[bytes, Score]:
    from midigpt_core.score import Score
    from midigpt_core.score.reading import file_content

    content = file_content(input_file)
    return content, Score.from_bytes(content, name=input_file)


def _list_piece(ctx: click.Context, input_file: str, checkpoint: str | None, *, as_json: bool) -> NoReturn:
    """List the piece and exit with code 2, as for any incomplete command."""
    from midigpt_core.checkpoint import build_encoder, read_header
    from midigpt_core.score import Score
    from midigpt_core.score.reading import file_content
    from midigpt_core.score.track_names import track_names

    midi = file_content(input_file)
    score = Score.from_bytes(midi, name=input_file)
    encoder = None
    if checkpoint is not None:
        registry(ctx)
        encoder = build_encoder(read_header(fetched(checkpoint)))
    content = piece.listing(score, encoder, track_names(midi))
    if as_json:
        echo_json({"input": input_file, **content}, indent=None)
    else:
        echo_lines("\n".join(piece.listing_lines(printable(input_file, None), content)))
    raise ConfigError("there is nothing to write. Give --track with --bars, --new-track, or --continue.")


def _write(music: Score, path: Path, content: bytes | None, name: str | None) -> tuple[str, ...]:
    """Write one candidate, keeping the rest of the input file. Returns a sentence on each thing that was lost."""
    from midigpt_core.score.splicing import SpliceError

    try:
        return music.to_midi(path, like=content)
    except SpliceError as error:
        music.to_midi(path)
        return (
            f"{name} cannot be kept as it is ({error.reason}): the new file has its notes, programs, time signatures "
            "and first tempo only.",
        )


def _engine(
    checkpoint: str, adapter: str | None, device: str | None, precision: str, known: CopyIndex | None
) -> InferenceEngine:
    # Imports torch, which takes seconds; every problem of the request is reported before.
    from midigpt_core.inference import InferenceEngine

    engine = InferenceEngine.from_checkpoint(checkpoint, device, precision=precision)
    engine = engine if adapter is None else engine.adapted(adapter)
    engine.known_bars = known
    return engine


def _known_bars(
    ctx: click.Context, provenance: Mapping[str, Any], trained: str, copy_index: str | None, *, novel: bool
) -> CopyIndex | None:
    """The bars for --novel; ``trained`` is the bundle or adapter with this provenance. Raises MidigptError, before
    anything is generated, if they cannot be read."""
    if not novel:
        if copy_index is not None:
            raise click.UsageError("--copy-index has the bars for --novel. Add --novel, or leave it out.", ctx)
        return None
    from midigpt_core.corpus.copy_index import NAME, index_of_bundle, read_copy_index

    if copy_index is not None:
        return read_copy_index(copy_index)
    found = index_of_bundle(trained, str(provenance.get("corpus") or ""))
    if found is None:
        raise ConfigError(
            f"--novel: there is no {NAME} in the bundle's folder. Name the index with --copy-index FILE, or make it: "
            "midigpt evaluate DATA --checkpoint BUNDLE --music --train-data TRAINING_DATA --copy-index FILE."
        )
    return found


def _draw(path: Path, music: Score, written: set[tuple[int, int]]) -> None:
    from midigpt_core.score.piano_roll import save_piano_roll

    save_piano_roll(path.with_suffix(".png"), music, written, title=path.name)


def _sound_suffix(audio: Format | None) -> tuple[str, ...]:
    return () if audio is None else (f".{audio}",)


def _bank(ctx: click.Context, audio: Format | None, soundfont: str | None) -> Path | None:
    """The bank for --audio. Raises ConfigError, before anything is generated, if it cannot be played."""
    if audio is None:
        if soundfont is not None:
            raise click.UsageError("--soundfont names the bank for --audio. Add --audio, or leave it out.", ctx)
        return None
    from midigpt_core.audio.banks import sound_bank
    from midigpt_core.audio.libraries import audio_libraries

    audio_libraries()
    return sound_bank(soundfont, option="--soundfont")


def _write_audio(paths: Sequence[Path], bank: Path | None, form: Format | None) -> Iterator[str]:
    """Write each MIDI file of ``paths`` as sound. Yields a sentence on each that was cut or cannot be played."""
    if bank is None or form is None:
        return
    from midigpt_core.audio.rendering import MOST_SECONDS, Renderer
    from midigpt_core.cli.audio_progress import audio_progress

    with Renderer(bank) as renderer, audio_progress(len(paths)) as progress:
        for number, path in enumerate(paths, 1):
            target = path.with_suffix(f".{form}")
            report = partial(progress, number)
            try:
                with files.atomic_writer(target) as stream:
                    cut = renderer.render(path.read_bytes(), stream, form, name=str(path), progress=report)
            except DataError as error:  # the music itself is written
                yield str(error)
                continue
            if cut:
                yield f"{target.name} ends after {MOST_SECONDS} seconds, the longest that is played."


def _require_free(paths: Sequence[Path], suffixes: Sequence[str], *, overwrite: bool) -> None:
    for path in paths:
        # Output names are longer than the input's name.
        usable_path(path, what="output", error=ConfigError)
    taken = [path for midi in paths for suffix in suffixes if (path := midi.with_suffix(suffix)).exists()]
    if taken and not overwrite:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise ConfigError(f"{taken[0]}{more}: exists already. Name another folder, or add --overwrite.")
    folder = paths[0].parent
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file. Name a folder for the files.")
    for path in (paths[0], *taken):
        files.require_writable(path)


class _Stopping(Interrupts):
    """The first Ctrl-C ends the session, which returns what is done; the second ends the process, even while files
    are being written. A first Ctrl-C that comes after the session ends the command in the usual way.
    """

    def __init__(self, session: SamplingSession) -> None:
        super().__init__((signal.SIGINT,), self._answer, self._in_main_thread, ending=lambda: end_by)
        self._session = session
        self._runs = True

    def run_is_over(self) -> None:
        self._runs = False

    def _answer(self, _number: signal.Signals) -> None:
        # The main thread may have finished the session meanwhile.
        if self._runs or self._session.cancelled:
            self._session.cancel()
            echo_line("Stopping after this token. Press Ctrl-C again to stop now.", err=True)

    def _in_main_thread(self, number: int, frame: FrameType | None) -> None:
        if self._runs:
            self._session.cancel()
        elif not self._session.cancelled:
            signal.default_int_handler(number, frame)


def _as_text(session: SamplingSession, paths: Sequence[Path], found: Sequence[TrackOutcome]) -> str:
    rows = [row for outcome in found for row in _rows(paths[outcome.candidate], outcome)]
    header = ("file", "track", "bars", "notes", "novelty", "attribute", "requested", "reached")
    blocks = [table(header, rows), *_remarks(session, found)]
    return "\n".join(blocks)


def _rows(path: Path, outcome: TrackOutcome) -> Iterator[tuple[str, ...]]:
    from midigpt_core.inference.validation import bar_ranges

    ranges = bar_ranges(outcome.bars) or "none"
    novelty = "-" if outcome.novelty is None else f"{outcome.novelty:.0%}"
    place = (path.name, str(outcome.track), ranges, str(outcome.notes), novelty)
    for reached in outcome.attributes or (None,):
        yield (*place, *(("-", "-", "-") if reached is None else _levels(reached)))
        place = ("", "", "", "", "")


def _levels(reached: Reached) -> tuple[str, str, str]:
    where = f"bar {reached.bar}" if reached.bar is not None else f"bars {reached.first_bar}-{reached.last_bar}"
    level = "-" if reached.reached is None else str(reached.reached)
    return f"{reached.name} ({where})", str(reached.requested), level


def heard_lines(found: Sequence[TrackOutcome], silent: Collection[int] = ()) -> Iterator[str]:
    """For each track written, a line that names the context tracks; several lines if candidates differ.

    ``silent``: tracks without a note, which no model needs to hear.
    """
    from midigpt_core.inference.validation import bar_ranges

    candidates: dict[tuple[int, str], list[int]] = {}
    for outcome in found:
        if outcome.context:
            candidates.setdefault((outcome.track, _context(outcome.context)), []).append(outcome.candidate + 1)
    of_track = Counter(track for track, _ in candidates)
    for (track, heard), numbers in sorted(candidates.items(), key=lambda line: line[0][0]):
        of = f"candidate{'s' if len(numbers) > 1 else ''} {bar_ranges(numbers, _MOST_RANGES)}"
        yield f"track {track}{f' ({of})' if of_track[track] > 1 else ''}: the model heard {heard}"
    left_out = (track for outcome in found for listening in outcome.context for track in listening.left_out)
    example = next((track for track in left_out if track not in silent), None)
    if example is not None:
        yield (
            "Tracks are left out because the model sees only as many tracks and tokens at once as it was trained with. "
            f"To keep track {example}, add --set context_keep=[{example}]."
        )


def _copy_lines(session: SamplingSession, found: Sequence[TrackOutcome]) -> Iterator[str]:
    from midigpt_core.inference.validation import bar_ranges

    if not session.request.config.novel:
        return
    copied = [outcome for outcome in found if outcome.copied]
    for outcome in copied:
        bars = f"bar{'s' if len(outcome.copied or ()) > 1 else ''} {bar_ranges(outcome.copied or ())}"
        yield f"candidate {outcome.candidate + 1}, track {outcome.track}: {bars} in the music of the index"
    if copied:
        attempts = session.request.config.max_attempts
        yield f"That is the last of {attempts} attempts. For more, add --set max_attempts={10 * attempts}."
    else:
        yield "no written bar of four notes or more is in the music of the index, exactly or transposed"


def _context(context: Sequence[Listening]) -> str:
    from midigpt_core.inference.validation import bar_ranges

    parts = []
    for listening in context[:_MOST_LISTENINGS]:
        ranges = bar_ranges(listening.bars)
        heard = f"{_named(listening.heard)} in bars {ranges}" if listening.heard else f"no other track in bars {ranges}"
        parts.append(heard + (f" (left out: {_named(listening.left_out)})" if listening.left_out else ""))
    more = len(context) - len(parts)
    return "; ".join(parts) + (f"; other tracks in {more} more stretches, which --json lists" if more else "")


def _named(tracks: Sequence[int]) -> str:
    from midigpt_core.inference.validation import bar_ranges

    return f"{'track' if len(tracks) == 1 else 'tracks'} {bar_ranges(tracks)}"


def _remarks(session: SamplingSession, found: Sequence[TrackOutcome]) -> Iterator[str]:
    chosen, seconds = session.tokens_chosen, session.seconds
    speed = chosen / seconds if seconds else 0.0
    yield f"seed {session.seed}, {chosen:,} tokens chosen in {seconds:.1f} s ({speed:,.0f} tokens/s)"
    yield from heard_lines(found, {track.index for track in session.score.tracks if not len(track.notes)})
    yield from _copy_lines(session, found)
    for before, now in sorted(set(session.narrowed)):
        yield f"windows of {before} bars did not fit the model, so windows of {now} bars were used."
    if session.cancelled:
        yield "Stopped: the files contain the bars that were finished."


def _as_json(
    session: SamplingSession,
    paths: Sequence[Path],
    found: Sequence[TrackOutcome],
    remarks: Sequence[str],
    audio: Format | None,
) -> dict[str, Any]:
    return {
        "seed": session.seed,
        "tokens": session.tokens_chosen,
        "seconds": session.seconds,
        "cancelled": session.cancelled,
        "dropped_context": [
            {"step": drop.step, "candidate": drop.candidate, "tracks": drop.tracks} for drop in session.dropped_context
        ],
        "narrowed": session.narrowed,
        "remarks": remarks,
        "candidates": [
            {
                "midi": str(path),
                "piano_roll": str(path.with_suffix(".png")),
                **({} if audio is None else {"audio": str(path.with_suffix(f".{audio}"))}),
                "tracks": [outcome.to_dict() for outcome in found if outcome.candidate == candidate],
            }
            for candidate, path in enumerate(paths)
        ],
    }
