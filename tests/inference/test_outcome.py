"""The outcome of a session: notes, novelty, and the requested and reached levels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from midigpt_core.contracts import BundleHeader
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.outcome import Listening, outcomes
from midigpt_core.score import Score
from support.inference import PRESETS, engine, notes_inside

BACH = Score.from_midi(Path(__file__).resolve().parents[1] / "data" / "midi" / "mutopia_bach_invention_08.mid")
BARS = (8, 9)


def _names(preset: str, level: str) -> list[str]:
    found = engine(preset).encoder.attributes
    return [each.name for each in found if each.level == level and each.size and each.applies_to(False)]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_level_asked_for_stands_beside_the_one_reached(preset: str) -> None:
    of_track, of_bars = (dict.fromkeys(_names(preset, level), 0) for level in ("track", "bar"))
    # Names of bar attributes may be written without "bar_", also where a track has one of that name.
    short = {name.removeprefix("bar_"): level for name, level in of_bars.items()}
    prompt = TrackPrompt(id=1, bars=BARS, attributes=of_track, bar_attributes={9: short} if short else {})
    config = InferenceConfig(seed=1, num_candidates=2, density_hard_limit=4)
    session = engine(preset).session(BACH, GenerationRequest([prompt], config))
    scores = session.run_variations()
    found = outcomes(session, scores, engine(preset).encoder)
    assert [(each.candidate, each.track, each.bars) for each in found] == [(0, 1, BARS), (1, 1, BARS)]
    for outcome, score in zip(found, scores, strict=True):
        assert outcome.notes == notes_inside(score, {(1, bar) for bar in BARS})
        assert [(each.name, each.bar, each.requested) for each in outcome.attributes] == [
            *((name, None, 0) for name in of_track),
            *((name, 9, 0) for name in short),
        ]
        assert {each.name for each in outcome.attributes if each.reached is None} == set()


def test_the_tracks_that_were_heard_stand_with_the_bars_that_were_written_with_them() -> None:
    rows = [
        {"program": program, "drum": False, "notes": [[bar, 120 * program, 240, 60 + program, 100, 0] for bar in bars]}
        for program, bars in ((0, range(16)), (1, range(8)), (2, range(8, 16)))
    ]
    score = Score.from_dict({"resolution": 480, "tempo": 500000, "bars": [[4, 4, 4.0]] * 16, "tracks": rows})
    plain = engine()
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={},
        encoder="midigpt",
        encoder_config={},
        provenance={"stream": {"num_bars_choices": [4], "max_tracks": 2}},
    )
    on = InferenceEngine(plain.model, plain.encoder, header=header)
    request = GenerationRequest([TrackPrompt(id=0, bars=[2, 3, 13])], InferenceConfig(seed=1, num_candidates=2))
    session = on.session(score, request)
    first, second = outcomes(session, session.run_variations(), on.encoder)
    assert first.context == second.context
    assert first.context == (
        Listening(bars=(2, 3), heard=(1,), left_out=(2,)),
        Listening(bars=(13,), heard=(2,), left_out=(1,)),
    )
    assert json.loads(json.dumps(first.to_dict()))["context"][0] == {"bars": [2, 3], "heard": [1], "left_out": [2]}


def test_novelty_is_the_share_of_notes_that_were_not_there() -> None:
    session = engine().session(BACH, GenerationRequest([TrackPrompt(id=1, bars=BARS)], InferenceConfig(seed=1)))
    (written,) = session.run_variations()
    (new,) = outcomes(session, [written], engine().encoder)
    (old,) = outcomes(session, [BACH], engine().encoder)
    assert old.novelty == 0
    assert new.novelty is not None
    assert new.novelty > 0.5
