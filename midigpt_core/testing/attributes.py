"""Checks for attribute controls, on the notes of the kit's pieces as the bundled encoder writes them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import attrs
import numpy as np

from midigpt_core.contracts import EncoderContext
from midigpt_core.plugins import build
from midigpt_core.plugins.attributes import compute_levels, find_attribute
from midigpt_core.score import editing
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing import music
from midigpt_core.testing.general import process_registry

if TYPE_CHECKING:
    from midigpt_core.contracts import Encoder, PluginAttribute
    from midigpt_core.records import Corpus, Int16Array, WindowBatch
    from midigpt_core.score.window_notes import WindowNotes
    from midigpt_core.testing.general import Subject

_ARRAYS = (
    "offsets",
    "onset",
    "duration",
    "pitch",
    "velocity",
    "num_bars",
    "program",
    "drum",
    "numerator",
    "denominator",
)


def check_levels_are_sound(subject: Subject) -> None:
    """Integers of the right shape, -1 or one of the levels, for one window as for several."""
    for windows in (_windows(), _windows(pieces=(1,)), _windows(transpose=5)):
        _levels(subject, _notes(subject, windows))


def check_takes_silence(subject: Subject) -> None:
    """Tracks and bars may have no note at all."""
    silent = [editing.replace_cells(score, np.ones((3, music.BARS), np.bool_), None) for score in music.scores()]
    _levels(subject, _notes(subject, _windows(), in_memory_corpus(silent)))


def check_takes_an_empty_batch(subject: Subject) -> None:
    """No window at all."""
    _levels(subject, _notes(subject, music.windows((), 4)))


def check_other_windows_do_not_matter(subject: Subject) -> None:
    """A window has the same levels alone, in a batch and in a batch the other way round."""
    whole = _levels(subject, _notes(subject, _windows((0, 1, 0))))
    alone = [_levels(subject, _notes(subject, _windows((piece,)))) for piece in (0, 1, 0)]
    assert np.array_equal(whole, np.concatenate(alone)), "the other windows of the batch matter"
    backwards = _levels(subject, _notes(subject, _windows((1, 0))))
    assert np.array_equal(whole[:2], backwards[::-1]), "the order of the batch matters"


def check_equal_notes_give_equal_levels(subject: Subject) -> None:
    """Whatever was measured before: it draws from no global generator and keeps nothing."""
    first = _levels(subject, _notes(subject, _windows()))
    _levels(subject, _notes(subject, _windows((1,), transpose=-7)))
    assert np.array_equal(first, _levels(subject, _notes(subject, _windows()))), "a second call gave other levels"


def check_leaves_the_notes_alone(subject: Subject) -> None:
    """Other attribute controls get the same arrays."""
    notes = _notes(subject, _windows())
    before = {name: copy.deepcopy(getattr(notes, name)) for name in _ARRAYS}
    _levels(subject, notes)
    for name, values in before.items():
        assert np.array_equal(values, getattr(notes, name)), f"{name} was changed"


def check_its_tokens_follow_the_vocabulary(subject: Subject) -> None:
    """A document is that of the encoder without the control, and its own tokens."""
    plain, encoder = _encoder(subject, without=True), _encoder(subject)
    attribute = _attribute(subject)
    assert encoder.vocab_size == plain.vocab_size + attribute.levels
    unlimited = np.zeros(2, np.int32)
    for infill in (False, True)[: 1 + ("infill" in encoder.provides)]:
        windows = music.windows((0, 1), 4, infill=infill)
        tokens = encoder.encode_batch(music.corpus(), windows, unlimited).tokens
        expected = plain.encode_batch(music.corpus(), windows, unlimited).tokens
        assert np.array_equal(tokens[tokens < plain.vocab_size], expected), "tokens of the encoder itself changed"


def _levels(subject: Subject, notes: WindowNotes) -> Int16Array:
    return compute_levels(_attribute(subject), notes)


def _attribute(subject: Subject) -> PluginAttribute:
    with process_registry(subject.registry):
        return find_attribute(f"{subject.ref.plugin}/{subject.spec.name}")


def _encoder(subject: Subject, *, without: bool = False) -> Encoder:
    """The encoder that comes with midigpt-core, with or without the control."""
    names = [] if without else [f"{subject.ref.plugin}/{subject.spec.name}"]
    with process_registry(subject.registry):
        choice = {"name": "midigpt", "attributes": names}
        encoder: Encoder = build(subject.registry.resolve("encoder", choice), EncoderContext())
    return encoder


def _notes(subject: Subject, windows: WindowBatch, corpus: Corpus | None = None) -> WindowNotes:
    return _encoder(subject, without=True).window_notes(corpus or music.corpus(), windows)


def _windows(pieces: tuple[int, ...] = (0, 1), *, transpose: int = 0) -> WindowBatch:
    windows = music.windows(pieces, music.BARS)
    return attrs.evolve(windows, transpose=np.full(len(pieces), transpose, np.int32))
