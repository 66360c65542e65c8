"""What is heard: each note at its time and pitch, with tempo map, programs, drums and pedal; and no more than fits."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from midigpt_core.audio import rendering
from midigpt_core.audio.rendering import RATE, Renderer
from midigpt_core.errors import ConfigError, DataError
from midigpt_core.score import Score
from support.midi_bytes import MidiBytes
from support.soundfont import TRANSPOSED, soundfont

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.records import Float32Array

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
WRITE = MidiBytes()
#: Seconds: a block of FluidSynth is 64 frames, and a note takes some to sound.
LATE = 0.01


def control(number: int, value: int, after: int = 0) -> bytes:
    return WRITE.number(after) + bytes([0xB0, number, value])


def program(number: int) -> bytes:
    return bytes([0, 0xC0, number])


def tempo(quarters_per_minute: float, after: int = 0) -> bytes:
    return WRITE.number(after) + b"\xff\x51\x03" + round(60e6 / quarters_per_minute).to_bytes(3, "big")


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bank") / "test.sf2"
    path.write_bytes(soundfont())
    return path


@pytest.fixture(scope="module")
def renderer(bank: Path) -> Iterator[Renderer]:
    with Renderer(bank) as renderer:
        yield renderer


def heard(renderer: Renderer, midi: bytes, form: Any = "wav") -> Float32Array:
    """The two channels' mean, float32[n]."""
    target = io.BytesIO()
    assert not renderer.render(midi, target, form)
    target.seek(0)
    samples, rate = soundfile.read(target, dtype="float32")
    assert (rate, samples.shape[1]) == (RATE, 2)
    return samples.mean(axis=1)


def loudness(samples: Float32Array, start: float, end: float) -> float:
    """The largest amplitude from ``start`` to ``end``, 0 after the end."""
    return float(np.abs(samples[round(start * RATE) : round(end * RATE)]).max(initial=0.0))


def frequency(samples: Float32Array, start: float, end: float) -> float:
    part = samples[round(start * RATE) : round(end * RATE)]
    spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 4 * RATE))
    return float(spectrum.argmax()) / 4


def onsets(samples: Float32Array) -> list[float]:
    """When something is heard after 50 ms of silence."""
    sounding = np.flatnonzero(np.abs(samples) > 0.005)
    firsts = np.flatnonzero(np.diff(sounding, prepend=-RATE) > RATE // 20)
    return [round(float(time), 3) for time in sounding[firsts] / RATE]


@pytest.mark.parametrize("form", ["wav", "ogg"])
def test_a_note_is_heard_at_its_time_and_pitch_and_silence_around_it(renderer: Renderer, form: str) -> None:
    samples = heard(renderer, WRITE.file(WRITE.note(60, 480, after=480)), form)
    assert loudness(samples, 0, 0.49) < 0.003
    assert onsets(samples) == pytest.approx([0.5], abs=LATE)
    assert frequency(samples, 0.55, 0.95) == pytest.approx(261.63, rel=0.005)
    assert loudness(samples, 1.2, 9) < 0.003


def test_the_tempo_map_is_kept(renderer: Renderer) -> None:
    """120 quarters a minute, from the third on 60: an eighth each second quarter."""
    notes = [WRITE.note(69, 240, after=after) for after in (0, 720, 720, 720)]
    tempi = tempo(120) + tempo(60, after=960)
    samples = heard(renderer, WRITE.file(tempi, notes))
    assert onsets(samples) == pytest.approx([0, 1, 3, 5], abs=LATE)


def test_programs_and_drums_sound_as_the_bank_has_them(renderer: Renderer) -> None:
    for number, semitones in TRANSPOSED.items():
        samples = heard(renderer, WRITE.file(program(number) + WRITE.note(57, 480)))
        assert frequency(samples, 0.05, 0.45) == pytest.approx(220 * 2 ** (semitones / 12), rel=0.005)
    # A click whatever the key, however long the note is.
    drums = [WRITE.note(pitch, 480, after=480, channel=9) for pitch in (36, 42)]
    samples = heard(renderer, WRITE.file(drums))
    assert onsets(samples) == pytest.approx([0.5, 1.5], abs=LATE)
    assert loudness(samples, 0.6, 1.49) < 0.003


def test_the_pedal_holds_notes(renderer: Renderer) -> None:
    note = WRITE.note(69, 240)
    plain = heard(renderer, WRITE.file(note + control(64, 0, after=1200)))
    held = heard(renderer, WRITE.file(control(64, 127) + note + control(64, 0, after=1200)))
    assert loudness(plain, 0.5, 1.4) < 0.003
    assert loudness(held, 0.5, 1.4) > 0.02
    assert loudness(held, 1.8, 9) < 0.003
    # The volume and the loudness of a note are heard too.
    soft = heard(renderer, WRITE.file(WRITE.note(69, 480, velocity=20)))
    low = heard(renderer, WRITE.file(control(7, 30) + WRITE.note(69, 480)))
    loud = loudness(heard(renderer, WRITE.file(WRITE.note(69, 480))), 0.1, 0.4)
    assert loudness(soft, 0.1, 0.4) < loud / 2
    assert loudness(low, 0.1, 0.4) < loud / 2


def test_notes_without_an_end_and_held_by_a_pedal_end_with_the_piece(renderer: Renderer) -> None:
    hanging = control(64, 127) + bytes([0, 0x90, 69, 100]) + control(1, 0, after=480)
    samples = heard(renderer, WRITE.file(hanging))
    assert loudness(samples, 0.1, 0.45) > 0.02
    assert loudness(samples, 1.0, 9) < 0.003
    assert len(samples) / RATE < 7


def test_a_piece_is_played_the_same_whatever_was_played_before(renderer: Renderer, bank: Path) -> None:
    content = (MIDI / "piano_bell.mid").read_bytes()
    heard(renderer, WRITE.file(program(40) + control(64, 127) + control(7, 3) + bytes([0, 0x90, 69, 100])))
    after = heard(renderer, content)
    with Renderer(bank) as fresh:
        assert np.array_equal(heard(fresh, content), after)


def test_a_real_piece_lasts_as_long_as_its_score_and_never_clips(renderer: Renderer) -> None:
    path = MIDI / "mutopia_bach_invention_08.mid"
    samples = heard(renderer, path.read_bytes(), "ogg")
    score = Score.from_midi(path)
    quarters = float(score.columns.bar_length.sum())
    seconds = quarters * score.tempo / 1e6
    assert seconds - 3 < len(samples) / RATE < seconds + 8
    assert 0.05 < np.abs(samples).max() < 1
    assert loudness(samples, 0.0, 1.0) > 0.01


def test_many_loud_notes_stay_below_the_limit(renderer: Renderer) -> None:
    chord = b"".join(bytes([0, 0x90 | channel, 69, 127]) for channel in range(9) for _ in range(20))
    target = io.BytesIO()
    renderer.render(WRITE.file(chord + control(1, 0, after=480)), target, "wav")
    target.seek(0)
    samples, _ = soundfile.read(target, dtype="int16")
    assert 30_000 < np.abs(samples.astype(int)).max() < 32_767


def test_a_file_that_lasts_for_days_is_cut_and_fades_out(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert rendering.MOST_SECONDS == 600
    monkeypatch.setattr(rendering, "MOST_SECONDS", 4)
    days = WRITE.file(tempo(4), bytes([0, 0x90, 69, 100]) + control(1, 0, after=0xFFFFFFF))
    target, seconds = io.BytesIO(), []
    assert renderer.render(days, target, "wav", progress=seconds.append)
    target.seek(0)
    samples, _ = soundfile.read(target, dtype="float32")
    assert len(samples) == 4 * RATE
    assert seconds[0] < seconds[-1] == 4
    assert loudness(samples, 1, 2.9) > 0.02
    assert loudness(samples, 3.99, 4) < 0.02 * loudness(samples, 1, 2.9)


def test_a_file_of_nothing_and_a_file_that_is_no_midi_file(renderer: Renderer) -> None:
    assert loudness(heard(renderer, (MIDI / "empty.mid").read_bytes()), 0, 9) < 0.003
    for content in (b"", b"not a MIDI file", b"\0" * 1000):
        with pytest.raises(DataError, match=r"^song\.mid: is not a MIDI file\. Name"):
            renderer.render(content, io.BytesIO(), "wav", name="song.mid")


def test_a_full_disk_is_an_error_of_the_file(renderer: Renderer, capfd: pytest.CaptureFixture[str]) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() > 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    for form in rendering.FORMATS:
        with pytest.raises(OSError, match="No space left"):
            renderer.render(WRITE.file(WRITE.note(60, 480)), Full(), form)
    assert capfd.readouterr() == ("", "")


def test_a_bank_that_fluidsynth_cannot_load_is_a_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(b"RIFF\4\0\0\0sfbk")
    with pytest.raises(ConfigError, match=r"damaged\.sf2: FluidSynth cannot load this bank; it may be damaged\. Use"):
        Renderer(damaged)
