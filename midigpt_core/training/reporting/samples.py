"""Writes samples during a run: every so many steps the model fills bars of a few fixed prompts."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen
from lightning.pytorch.callbacks import Callback

from midigpt_core import files, terminal
from midigpt_core.audio.rendering import Renderer
from midigpt_core.contracts import SampleAudioLogger, SampleLogger
from midigpt_core.corpus.origins import origin
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.settings import EVALUATION_SEED
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt, validation
from midigpt_core.inference.trained import TrainedWindows
from midigpt_core.keys import Stage, below, derive, uniforms
from midigpt_core.score import Score, columns, editing
from midigpt_core.score.piano_roll import piano_roll, png_bytes
from midigpt_core.training.reporting.page.samples import DESCRIPTION

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.audio.rendering import Format
    from midigpt_core.contracts import Bundle, Encoder
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.records import Corpus, UInt64Array
    from midigpt_core.training.reporting.measured_run import MeasuredRun

_log = terminal.logger("midigpt_core.training")

_PROMPTS = 4
#: Windows drawn to find that many prompts: short pieces have none, and some time signatures cannot be written.
_DRAWS = 64


@frozen(eq=False, kw_only=True)
class Prompt:
    """A window of a piece and the bars to write in it. Runs on the same pieces have the same prompts."""

    #: ``"prompt1"``, a file name.
    name: str
    #: The origin of the window and the bars written, for the picture.
    title: str
    score: Score
    request: GenerationRequest


def draw_prompts(spec: StreamSpec, encoder: Encoder) -> list[Prompt]:
    """Up to four prompts from windows of the pieces of ``spec``, drawn by its settings without augmentation.

    Prompts alternate between filling in the middle half of a track's bars and writing the last track from scratch, if
    the settings train both. Raises :class:`midigpt_core.errors.CorpusError` if the corpus is damaged.
    """
    settings = spec.settings.evaluation()
    keys = derive(EVALUATION_SEED, Stage.PROMPT, np.arange(_DRAWS))
    opened = open_corpus(spec.shards)
    pieces = spec.pieces[below(uniforms(keys, 1)[:, 0], len(spec.pieces))]
    opened.verify(pieces)
    drawn = WindowDrawer(opened.corpus, encoder, None, settings).draw(keys, pieces)
    kinds = [
        *([False] if spec.settings.infill_probability > 0 and "infill" in encoder.provides else []),
        *([True] if spec.settings.infill_probability < 1 else []),
    ]
    prompts: list[Prompt] = []
    trained = TrainedWindows(sizes=settings.num_bars_choices, max_tracks=settings.max_tracks)
    windows = drawn.windows
    for place, draw in enumerate(drawn.draw.tolist()):
        if len(prompts) == _PROMPTS:
            break
        piece, first, count = int(windows.piece[place]), int(windows.start_bar[place]), int(windows.num_bars[place])
        tracks = windows.tracks[place]
        score = editing.excerpt(_score(opened.corpus, piece), first, count, tracks[tracks >= 0])
        autoregressive = kinds[len(prompts) % len(kinds)]
        request = _request(score, count, draw, keys[draw : draw + 1], autoregressive=autoregressive)
        if validation.problems(request, score, encoder, trained):
            continue
        does = "written from scratch" if autoregressive else "filled in"
        prompts.append(
            Prompt(
                name=f"prompt{len(prompts) + 1}",
                title=f"row {origin(opened.corpus, piece).row}, bars {first} to {first + count - 1}"
                f", track {request.tracks[0].id} {does}",
                score=score,
                request=request,
            )
        )
    return prompts


def _score(corpus: Corpus, piece: int) -> Score:
    shard, index = corpus.locate(piece)
    return Score(columns.select(corpus.shards[shard].columns, [index]))


def _request(score: Score, count: int, seed: int, key: UInt64Array, *, autoregressive: bool) -> GenerationRequest:
    last = len(score.tracks) - 1
    if autoregressive:
        prompt = TrackPrompt(id=last, bars=range(count), autoregressive=True)
    else:
        track = int(below(uniforms(derive(key, Stage.PROMPT), 1)[0], last + 1)[0])
        middle = range(count // 4, count // 4 + max(count // 2, 1))
        prompt = TrackPrompt(id=track, bars=middle)
    # One attempt: samples show what the model writes first.
    config = InferenceConfig(seed=seed, window_bars=count, max_attempts=1, novelty_check=False, silence_check=False)
    return GenerationRequest([prompt], config)


@frozen(kw_only=True)
class SampleAudio:
    """How samples are played."""

    bank: Path
    form: Format


class SampleWriter(Callback):
    """Every ``every`` steps, generates music for the prompts with the model as a bundle of that step would contain it.

    Writes ``<folder>/step<N>/prompt1.mid``, ``prompt1.png``, and so on, with ``audio`` also ``prompt1.ogg``, and
    ``samples.json``, which describes them. Calls the logger's ``log_sample`` and ``log_sample_audio`` if it has these
    methods. Only the weights of the trained model are read, and no random generator is used: the run is the same,
    bit for bit, with and without samples. A failure is logged as a warning.
    """

    def __init__(
        self,
        folder: Path,
        run: MeasuredRun,
        *,
        every: int,
        prompts: Callable[[], Sequence[Prompt]],
        logger: object,
        audio: SampleAudio | None = None,
    ) -> None:
        """Only rank 0 calls ``prompts``."""
        self._folder = folder
        self._run = run
        self._every = every
        self._draw = prompts
        self._prompts: Sequence[Prompt] | None = None
        self._logger = logger
        self._audio = audio
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the samples that were due at the step at which the run was stopped."""
        step = self._seen = trainer.global_step
        due = step > 0 and step % self._every == 0
        if due and trainer.strategy.broadcast(not self._of_step(step).exists()):
            self._sample(step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._seen:
            return
        self._seen = step
        if step % self._every == 0 and self._run.signals.agreed is None:
            self._sample(step)

    def _of_step(self, step: int) -> Path:
        return self._folder / f"step{step}"

    def _sample(self, step: int) -> None:
        with self._run.clock.paused():
            bundle = self._run.bundle()
            if bundle is not None:
                with survived(f"no samples at step {step}"):
                    self._write(step, bundle)

    def _write(self, step: int, bundle: Bundle) -> None:
        if self._prompts is None:
            self._prompts = self._draw()
        if not self._prompts:
            _log.warning("no samples at step %d: no window of the pieces can be used as a prompt.", step)
            return
        engine = InferenceEngine.from_bundle(bundle)
        contents: dict[str, bytes] = {}
        descriptions: dict[str, Any] = {}
        for prompt in self._prompts:
            with survived(f"no sample of {prompt.name} at step {step}"):
                music, written = self._generate(engine, prompt)
                picture = piano_roll(music, written, title=f"step {step}: {prompt.title}")
                contents[f"{prompt.name}.png"] = png_bytes(picture)
                contents[f"{prompt.name}.mid"] = music.to_bytes()
                descriptions[prompt.name] = {"title": prompt.title, "written": sorted(map(list, written))}
            if self._run.is_to_stop():
                return
        if contents:
            contents |= self._sound(step, contents)
            contents[DESCRIPTION] = json.dumps(descriptions).encode()
            self._publish(step, contents)

    def _generate(self, engine: InferenceEngine, prompt: Prompt) -> tuple[Score, Collection[tuple[int, int]]]:
        """The music of a prompt, and the cells that were written; incomplete after a signal to stop."""
        session = engine.session(prompt.score, prompt.request)
        music = session.run(lambda _: session.cancel() if self._run.is_to_stop() else None)
        return music, session.generated_bars[0]

    def _sound(self, step: int, contents: Mapping[str, bytes]) -> dict[str, bytes]:
        """The sound of the MIDI files among ``contents``; a signal to stop leaves out the rest."""
        sounds: dict[str, bytes] = {}
        if self._audio is None:
            return sounds
        form = self._audio.form
        with survived(f"no sound of the samples at step {step}"), Renderer(self._audio.bank) as renderer:
            for name in [name for name in contents if name.endswith(".mid")]:
                if self._run.is_to_stop():
                    break
                sound = io.BytesIO()
                renderer.render(contents[name], sound, form, name=name)
                sounds[f"{name.removesuffix('.mid')}.{form}"] = sound.getvalue()
        return sounds

    def _publish(self, step: int, contents: Mapping[str, bytes]) -> None:
        target = self._of_step(step)
        with files.atomic_folder(target) as folder:
            for name, content in contents.items():
                files.write_bytes(folder / name, content)
            # A run that resumed from before this step may have written these samples already.
            shutil.rmtree(target, ignore_errors=True)
        if isinstance(self._logger, SampleLogger):
            for midi in sorted(target.glob("*.mid")):
                with survived(f"{midi.stem} of step {step} is not in the logger"):
                    self._logger.log_sample(midi.stem, midi, midi.with_suffix(".png"), step)
        if self._audio is not None and isinstance(self._logger, SampleAudioLogger):
            for sound in sorted(target.glob(f"*.{self._audio.form}")):
                with survived(f"the sound of {sound.stem} of step {step} is not in the logger"):
                    self._logger.log_sample_audio(sound.stem, sound, step)


@contextlib.contextmanager
def survived(what: str) -> Iterator[None]:
    """Log errors as warnings: no failure of a sample, in a plugin's code either, may end the run."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split()) or "no reason given"
        _log.warning("%s: %s: %s", what, type(error).__name__, reason)
