"""Generated music that is made up: by hand for small scores, at random for second implementations."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.contracts import Encoder, MetricContext
from midigpt_core.plugins import build, current_registry
from midigpt_core.records import ControlAnswers, GeneratedMusic
from midigpt_core.score import Score
from midigpt_core.score.columns import concatenate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midigpt_core.contracts import KnownBars
    from midigpt_core.records import Figure

QUARTER = 480
#: (bar, onset, duration, pitch), times in quarters.
Note = tuple[int, float, float, int]


def score(tracks: Sequence[tuple[bool, Sequence[Note]]], bars: int, beats: int = 4) -> Score:
    """``tracks``: whether it is a drum track, and its notes."""
    rows: list[dict[str, Any]] = [
        {
            "program": 0,
            "drum": drum,
            "notes": [
                [bar, round(onset * QUARTER), round(duration * QUARTER), pitch, 90, 0]
                for bar, onset, duration, pitch in sorted(notes)
            ],
        }
        for drum, notes in tracks
    ]
    signatures = [[beats, 4, float(beats)]] * bars
    return Score.from_dict({"resolution": QUARTER, "tempo": 500_000, "bars": signatures, "tracks": rows})


def controls(*answers: tuple[int, int, int]) -> ControlAnswers:
    """(attribute, requested, reached) of each request."""
    columns = np.array(answers, np.int64).reshape(-1, 3).T
    return ControlAnswers(
        attribute=columns[0].astype(np.int32),
        requested=columns[1].astype(np.int16),
        reached=columns[2].astype(np.int16),
        autoregressive=np.zeros(len(answers), np.bool_),
    )


def music(
    pairs: Sequence[tuple[Score, Score]],
    cells: Sequence[Sequence[tuple[int, int]]],
    answers: ControlAnswers | None = None,
) -> GeneratedMusic:
    """``pairs``: generated and true scores; ``cells``: the generated (track, bar) of each."""
    tracks = max(len(true.tracks) for _, true in pairs)
    bars = max(len(true.columns.bar_length) for _, true in pairs)
    marked = np.zeros((len(pairs), tracks, bars), np.bool_)
    for row, of_score in enumerate(cells):
        for track, bar in of_score:
            marked[row, track, bar] = True
    return GeneratedMusic(
        generated=concatenate([generated.columns for generated, _ in pairs]),
        true=concatenate([true.columns for _, true in pairs]),
        cells=marked,
        autoregressive=np.zeros(len(pairs), np.bool_),
        controls=answers or controls(),
    )


def measured(
    name: str, of: GeneratedMusic, known: KnownBars | None = None, encoder: Encoder | None = None, **options: Any
) -> Mapping[str, Figure]:
    """The figures of a bundled metric."""
    context: Any = MetricContext(encoder=encoder, seed=1, training_bars=known)  # type: ignore[arg-type]
    answer: Mapping[str, Figure] = build(
        current_registry().resolve("metric", {"name": name, **options}), context
    ).measure(of)
    return answer


def random_music(seed: int, excerpts: int = 5) -> tuple[GeneratedMusic, list[tuple[Score, Score]], list[Any]]:
    """Music with notes on sixteenths, triplets and off the grid; with drums, silent bars, and unequal sizes."""
    draw = random.Random(seed)
    pairs, cells = [], []
    for _ in range(excerpts):
        bars, beats = draw.randint(2, 6), draw.choice((3, 4))
        drums = [False] * draw.randint(1, 2) + [True]

        def notes(bars: int = bars, beats: int = beats) -> list[Note]:
            return [
                (
                    draw.randrange(bars),
                    draw.choice((0, 0.25, 1 / 3, 0.5, 0.51)) + draw.randrange(beats),
                    draw.choice((0.25, 0.3, 1, 2.5)),
                    draw.randrange(60, 66),
                )
                for _ in range(draw.randint(0, 20))
            ]

        true_notes = [notes() for _ in drums]
        of_score = sorted({(draw.randrange(len(drums)), draw.randrange(bars)) for _ in range(3)})
        fresh = [notes() for _ in drums]
        made = [
            [n for n in true_notes[t] if (t, n[0]) not in of_score] + [n for n in fresh[t] if (t, n[0]) in of_score]
            for t in range(len(drums))
        ]
        pairs.append(tuple(score(list(zip(drums, rows, strict=True)), bars, beats) for rows in (made, true_notes)))
        cells.append(of_score)
    return music(pairs, cells), pairs, cells  # type: ignore[arg-type]
