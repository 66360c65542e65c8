"""Excerpts come from as many pieces as there are, are always the same, and are refused where there are too few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.corpus.build import build
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.errors import DataError
from midigpt_core.inference.outcome import outcomes
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import GenerationProgress, generate
from midigpt_core.plugins import current_registry
from support.corpus import GIGAMIDI, write_shard
from support.inference import engine

if TYPE_CHECKING:
    from midigpt_core.records import GeneratedMusic, ScoreColumns

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
ENCODER = MidigptEncoder(EncoderConfig.from_preset("yellow"))


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> StreamSpec:
    folder = tmp_path_factory.mktemp("excerpts")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))]
    shards = build(GIGAMIDI, [str(write_shard(folder / "a.parquet", files))], cache=folder / "cache").shards
    columns = open_corpus(shards).corpus.shards[0].columns
    # Pieces with music in the time signatures that everything can write.
    common = [
        piece
        for piece in range(columns.num_pieces)
        if set(columns.bar_denominator[slice(*columns.bar_offsets[piece : piece + 2])].tolist()) == {4}
    ]
    return StreamSpec(
        shards=shards,
        pieces=np.array(common),
        encoder=current_registry().resolve("encoder", "midigpt"),
        mask=None,
        settings=StreamSettings(num_bars_choices=(4,), max_tracks=3, min_fill_ratio=0.25),
    )


def test_they_alternate_cover_the_pieces_and_stay_the_same(spec: StreamSpec) -> None:
    drawn = draw_excerpts(spec, ENCODER, 12)
    assert [excerpt.autoregressive for excerpt in drawn.free] == [False, True] * 6
    assert drawn.pieces >= min(len(spec.pieces), 6)
    for excerpt in drawn.free:
        assert len(excerpt.bars) == (4 if excerpt.autoregressive else 2)
        assert len(excerpt.score.tracks[0].bars) <= 16
    for excerpt in drawn.controlled:
        assert excerpt.control is not None
        attribute, level = excerpt.control
        assert ENCODER.attributes[attribute].applies_to(excerpt.score.tracks[excerpt.track].is_drum)
        assert 0 <= level < ENCODER.attributes[attribute].size
        assert (excerpt.bars, len(excerpt.score.tracks[0].bars)) == (range(4), 4)
    again = draw_excerpts(spec, ENCODER, 12)
    for one, other in zip([*drawn.free, *drawn.controlled], [*again.free, *again.controlled], strict=True):
        assert one.score.digest() == other.score.digest()
        assert (one.track, one.bars, one.control) == (other.track, other.bars, other.control)


def test_too_few_pieces_are_refused_with_their_number(spec: StreamSpec) -> None:
    lonely = StreamSpec(
        shards=spec.shards, pieces=spec.pieces[:1], encoder=spec.encoder, mask=None, settings=spec.settings
    )
    with pytest.raises(DataError, match=r"on 1 of the 1 pieces .* at least 2 pieces are needed\. Give more data"):
        draw_excerpts(lonely, ENCODER, 12)


def same(one: ScoreColumns, other: ScoreColumns) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("note_onset", "note_pitch", "cell_bar")
    )


def test_generated_bars_are_reproducible_and_only_they_differ(spec: StreamSpec) -> None:
    drawn = draw_excerpts(spec, ENCODER, 6)
    told: list[GenerationProgress] = []

    def made() -> GeneratedMusic:
        music = generate(engine(), drawn, progress=told.append)
        assert music is not None
        return music

    music = made()
    assert told[-1].done == told[-1].total == len(drawn.free) + len(drawn.controlled)
    again = made()
    assert same(music.generated, again.generated)
    assert np.array_equal(music.controls.reached, again.controls.reached)
    assert music.cells.sum() == sum(len(excerpt.bars) for excerpt in drawn.free)
    assert not same(music.generated, music.true)
    for row, excerpt in enumerate(drawn.free):
        (track,) = {int(track) for track in np.argwhere(music.cells[row])[:, 0]}
        assert track == excerpt.track
    # Levels are those that a session of its own reports.
    for row, excerpt in enumerate(drawn.controlled):
        alone = engine().session(excerpt.score, excerpt.request(ENCODER, len(drawn.free) + row, 1.0))
        (outcome,) = outcomes(alone, [alone.run()], ENCODER)
        reached = outcome.attributes[0].reached
        assert int(music.controls.reached[row]) == (-1 if reached is None else reached)
    assert generate(engine(), drawn, go_on=lambda: False) is None
