"""Checks for metrics, on generated music that was made up."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import frozen

from midigpt_core.contracts import EncoderContext, MetricContext
from midigpt_core.music.measuring import contradiction
from midigpt_core.plugins import build
from midigpt_core.records import ControlAnswers, GeneratedMusic, ScoreColumns
from midigpt_core.score import editing
from midigpt_core.score.bar_fingerprints import bar_fingerprints
from midigpt_core.score.columns import concatenate
from midigpt_core.testing.music import BARS, scores

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import Encoder, Metric
    from midigpt_core.records import BoolArray, Figure, UInt64Array
    from midigpt_core.testing.general import Subject

_TRACKS = 3


@frozen(eq=False)
class _Bars:
    """The bars of the excerpts, for a training corpus."""

    fingerprints: UInt64Array

    def looked_up(self, fingerprints: UInt64Array) -> BoolArray:
        return np.ones(len(fingerprints), np.bool_)

    def contains(self, fingerprints: UInt64Array) -> BoolArray:
        return np.isin(fingerprints, self.fingerprints)


def check_figures_are_sound(subject: Subject) -> None:
    """Names are plain, values finite, shares between 0 and 1, intervals not upside down."""
    _measure(subject, _music())


def check_equal_music_gives_equal_figures(subject: Subject) -> None:
    """Whatever the metric measured before, and in a second metric too: it draws from no global generator."""
    metric = _build(subject)
    first = metric.measure(_music())
    metric.measure(_music(silent=True))
    assert dict(metric.measure(_music())) == dict(first), "a second measurement gave other figures"
    assert dict(_build(subject).measure(_music())) == dict(first), "a second metric gave other figures"


def check_measures_silence(subject: Subject) -> None:
    """A model may have generated no note at all."""
    _measure(subject, _music(silent=True))


def check_measures_nothing(subject: Subject) -> None:
    """No excerpt, and no request for a control."""
    _measure(subject, _music(count=0))


def check_does_without_a_training_corpus(subject: Subject) -> None:
    context = attrs.evolve(_context(subject), training_bars=None)
    problem = contradiction(subject.build(context).measure(_music()))
    assert not problem, f"measure() returned {problem}"


def check_leaves_the_music_alone(subject: Subject) -> None:
    music = _music()
    before = copy.deepcopy(music)
    _build(subject).measure(music)
    for name in ("generated", "true"):
        for field in attrs.fields_dict(ScoreColumns):
            same = np.array_equal(getattr(getattr(music, name), field), getattr(getattr(before, name), field))
            assert same or getattr(getattr(music, name), field) is None, f"{name}.{field} was changed"
    assert np.array_equal(music.cells, before.cells), "cells were changed"


def _measure(subject: Subject, music: GeneratedMusic) -> Mapping[str, Figure]:
    answer = _build(subject).measure(music)
    problem = contradiction(answer)
    assert not problem, f"measure() returned {problem}"
    return answer


def _build(subject: Subject) -> Metric:
    metric: Metric = subject.build(_context(subject))
    return metric


def _context(subject: Subject) -> MetricContext:
    known = _Bars(bar_fingerprints(concatenate([score.columns for score in scores()]))[1])
    return MetricContext(encoder=_encoder(subject), seed=1, training_bars=known)


def _encoder(subject: Subject) -> Encoder:
    """The encoder that comes with midigpt-core; it has attribute controls."""
    encoder: Encoder = build(subject.registry.resolve("encoder", "midigpt"), EncoderContext())
    return encoder


def _music(*, count: int = 2, silent: bool = False) -> GeneratedMusic:
    """``count`` excerpts with two generated bars of one track each: an octave higher than they were, or silent."""
    true = [scores()[number % 2] for number in range(count)]
    cells = np.zeros((count, _TRACKS, BARS), np.bool_)
    generated = []
    for number, score in enumerate(true):
        cells[number, number % _TRACKS, 2:4] = True
        notes = editing.note_table(score)
        notes = notes.where(cells[number][notes.track, notes.bar])
        notes = attrs.evolve(notes, pitch=(notes.pitch + 12).astype(np.uint8))
        generated.append(editing.replace_cells(score, cells[number], None if silent else notes))
    requested = np.arange(3 * count, dtype=np.int16) % 3
    return GeneratedMusic(
        generated=concatenate([score.columns for score in generated]),
        true=concatenate([score.columns for score in true]),
        cells=cells,
        autoregressive=np.arange(count) % 2 == 1,
        controls=ControlAnswers(
            attribute=np.zeros(3 * count, np.int32),
            requested=requested,
            reached=np.full(3 * count, -1 if silent else 1, np.int16),
            autoregressive=np.zeros(3 * count, np.bool_),
        ),
    )
