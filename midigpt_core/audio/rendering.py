"""Plays MIDI files into audio files. FluidSynth plays: tempo map, programs, drums, pedal and other controllers too."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from midigpt_core.audio.libraries import audio_libraries
from midigpt_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from midigpt_core.records import Float32Array

Format = Literal["ogg", "wav"]
FORMATS: tuple[Format, ...] = get_args(Format)

RATE = 44_100
#: The longest audio, in seconds. A MIDI file of a few bytes can last for days.
MOST_SECONDS = 600
#: How long notes may sound on after the last event, and how long what is still sounding then fades out: seconds.
_MOST_TAIL, _FADE = 6.0, 1.0
#: Frames that are played at a time: a tenth of a second. Memory does not depend on the length of the piece.
_BLOCK = 4410
#: Three times FluidSynth's default, at which a single instrument is too quiet. The limiter below keeps the peaks.
_GAIN = 0.6
#: The amplitude from which samples are compressed, and the one that they stay below.
_KNEE, _PEAK = 0.75, 0.99
#: Amplitude below which an end is silent: the last bit of 16.
_SILENCE = 1 / 32768
_SUBTYPES = {"ogg": ("OGG", "VORBIS"), "wav": ("WAV", "PCM_16")}
_HEADER = b"MThd"
_CHANNELS = 16
_SUSTAIN = 64


class Renderer:
    """Plays MIDI files with one bank. A context manager, which frees the bank. For one thread at a time."""

    def __init__(self, bank: Path) -> None:
        """Load ``bank``. Raises :class:`ConfigError` if a library is missing or FluidSynth cannot load the file."""
        self._libraries = audio_libraries()
        self._fluid = self._libraries.fluidsynth
        self._bank = bank
        # FluidSynth shares the samples of a bank among its synthesizers.
        self._holder = self._synthesizer()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._holder.delete()

    def render(
        self,
        midi: bytes,
        target: IO[bytes],
        form: Format,
        *,
        name: str = "<bytes>",
        progress: Callable[[float], None] = lambda _: None,
    ) -> bool:
        """Write a MIDI file as stereo audio at 44.1 kHz to ``target``, a binary file that can be sought in.

        Returns whether the piece was cut: one that is longer than :data:`MOST_SECONDS` fades out there. The same file
        and bank give the same samples, whatever was played before. ``progress`` receives the seconds written so far.
        Raises :class:`DataError` with ``name`` for a file that is no MIDI file or that FluidSynth cannot play.
        """
        if not midi.startswith(_HEADER):
            raise DataError(f"{name}: is not a MIDI file. Name a standard MIDI file.")
        kind, subtype = _SUBTYPES[form]
        guarded = _Guarded(target)
        written, cut = 0, False
        with self._libraries.soundfile.SoundFile(guarded, "w", RATE, 2, format=kind, subtype=subtype) as output:
            for block, ends_here in self._blocks(midi, name):
                output.write(block)
                guarded.check()
                written += len(block)
                cut = ends_here
                progress(written / RATE)
        guarded.check()
        return cut

    def _blocks(self, midi: bytes, name: str) -> Iterator[tuple[Float32Array, bool]]:
        """Blocks float32[n, 2] of the piece, each with whether it is the end of a piece that is cut."""
        # A reset leaves some of the last piece in the effects.
        synth = self._synthesizer()
        player = self._fluid.new_fluid_player(synth.synth)
        try:
            added = self._libraries.add_content(player, midi, len(midi))
            if added != 0 or self._fluid.fluid_player_play(player) != 0:
                raise DataError(f"{name}: FluidSynth cannot play this file. Export it again as a standard MIDI file.")
            yield from self._played(synth, player)
        finally:
            self._fluid.fluid_player_stop(player)
            self._fluid.delete_fluid_player(player)
            synth.delete()

    def _synthesizer(self) -> Any:
        """A synthesizer with the bank."""
        synth = self._fluid.Synth(gain=_GAIN, samplerate=float(RATE), channels=_CHANNELS)
        try:
            number = synth.sfload(str(self._bank), 1)
        except UnicodeEncodeError:  # FluidSynth takes names in UTF-8
            number = -1
        if number < 0:
            synth.delete()
            raise ConfigError(
                f"{self._bank}: FluidSynth cannot load this bank; it may be damaged. Use another, or install it again."
            )
        return synth

    def _played(self, synth: Any, player: int) -> Iterator[tuple[Float32Array, bool]]:
        last = MOST_SECONDS * RATE
        done = False
        at = 0
        while at < last:
            # The player itself waits for the last notes, also for those that have no end.
            if not done and at and self._libraries.current_tick(player) >= self._libraries.total_ticks(player):
                done = True
                last = min(last, at + int(_MOST_TAIL * RATE))
                # Notes without an end, and those that a pedal holds, end with the piece.
                for channel in range(_CHANNELS):
                    synth.cc(channel, _SUSTAIN, 0)
                    synth.all_notes_off(channel)
            block = self._next(synth, min(_BLOCK, last - at))
            if done and not synth.get_active_voice_count() and np.abs(block).max() < _SILENCE:
                return
            left = last - at - np.arange(len(block))
            fade = np.clip(left / (_FADE * RATE), 0.0, 1.0).astype(np.float32)
            at += len(block)
            yield _limited(block) * fade[:, None], not done and at >= last

    def _next(self, synth: Any, count: int) -> Float32Array:
        block = np.zeros((count, 2), np.float32)
        place = block.ctypes.data
        self._libraries.write_float(synth.synth, count, place, 0, 2, place, 1, 2)
        return block


def _limited(block: Float32Array) -> Float32Array:
    """The samples with peaks above the knee rounded off."""
    size = np.abs(block)
    over = np.maximum(size - _KNEE, 0.0) / (_PEAK - _KNEE)
    limited = np.minimum(size, _KNEE) + (_PEAK - _KNEE) * np.tanh(over)
    return np.copysign(limited, block).astype(np.float32)


class _Guarded:
    """A file for libsndfile, whose callbacks cannot raise: keeps the first error of a write for :meth:`check`."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._error: OSError | None = None
        self.seek = target.seek
        self.tell = target.tell

    def write(self, data: bytes) -> int:
        try:
            if self._error is None:
                self._target.write(data)
        except OSError as error:
            self._error = error
        return len(data)

    def check(self) -> None:
        """Raise the error of an earlier write."""
        if self._error is not None:
            raise self._error
