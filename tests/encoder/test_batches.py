"""Encoding batches: the same tokens from everywhere, and attributes given instead of computed."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.records import Corpus, TokenStatus
from support.encoder import (
    attributes_of,
    corpus_of,
    documents,
    encode,
    golden_batch,
    piece,
    preset,
    same,
    status_of,
    windows_of,
)

YELLOW = preset("yellow")
GHOST = preset("ghost")
CORPUS = corpus_of(piece(), piece(tracks=4))


def test_threads_and_processes_do_not_change_tokens() -> None:
    corpus, windows = golden_batch()
    expected = encode(GHOST, corpus, windows, 600)
    assert {TokenStatus.OK, TokenStatus.CUT, TokenStatus.TRACKS_DROPPED} <= set(status_of(expected))
    for threads in (2, 3, 7):
        assert same(encode(MidigptEncoder(GHOST.config, threads), corpus, windows, 600), expected)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(encode, GHOST, corpus, windows, 600) for _ in range(8)]
        assert all(same(job.result(), expected) for job in jobs)
    copy = pickle.loads(pickle.dumps(MidigptEncoder(GHOST.config, 2)))
    assert copy.threads == 2
    assert same(encode(copy, corpus, windows, 600), expected)


def test_pieces_count_through_shards() -> None:
    shards = [corpus_of(piece(tracks=t)).shards[0] for t in (1, 2, 3)]
    corpus = Corpus(shards, np.array([0, 1, 2, 3]))
    requests = [{"piece": p, "tracks": (p,), "bars": 4} for p in (2, 0, 1, 2)]
    batch = encode(YELLOW, corpus, windows_of(requests))
    expected = [documents(encode(YELLOW, CORPUS, windows_of([{**r, "piece": 1}])))[0] for r in requests]
    assert documents(batch) == expected


def test_given_attributes_stand_in_for_computed_ones() -> None:
    names = YELLOW.vocabulary.attributes
    request = {"tracks": (0, 1), "bars": 4}
    values = np.full((1, 2, 5, len(names)), -1, np.int16)
    values[0, 1, 0, names.index("max_polyphony")] = 7
    values[0, 1, 0, names.index("min_note_duration")] = 99  # taken into the domain

    def written(**batch: Any) -> list[list[str]]:
        tokens = documents(encode(YELLOW, CORPUS, windows_of([request], **batch)))[0]
        text = [YELLOW.vocabulary.name(token) for token in tokens]
        starts = [index for index, name in enumerate(text) if name.startswith("Instrument")]
        return [text[start + 1 : text.index("Bar(0)", start)] for start in starts]

    computed = [["MinPolyphony(0)", "MaxPolyphony(0)", "MinNoteDuration(3)", "MaxNoteDuration(3)"]] * 2
    assert written() == computed
    changed = ["MinPolyphony(0)", "MaxPolyphony(7)", "MinNoteDuration(5)", "MaxNoteDuration(3)"]
    assert written(attribute_values=values) == [computed[0], changed]
    assert written(attribute_values=values, compute_attributes=False) == [[], ["MaxPolyphony(7)", "MinNoteDuration(5)"]]
    kept = np.zeros((1, len(names)), bool)
    kept[0, names.index("min_polyphony")] = True
    assert written(attributes_kept=kept) == [["MinPolyphony(0)"]] * 2


def test_note_duration_dist_takes_the_first_of_equally_frequent_levels() -> None:
    encoder = MidigptEncoder(
        EncoderConfig.from_mapping({"resolution": 480, "attribute_controls": [{"name": "note_duration_dist"}]})
    )
    # Stored order: a quarter (level 3), two eighths (2), a quarter.
    notes = [[0, 480, 480, 60, 90, 0], [0, 0, 240, 60, 90, 0], [0, 0, 240, 62, 90, 0], [1, 0, 480, 60, 90, 0]]
    content = {**piece(tracks=0, bars=2), "tracks": [{"program": 0, "drum": False, "notes": notes}]}
    values = encoder.compute_attributes(corpus_of(content), windows_of([{"bars": 2}]))
    assert attributes_of(encoder, values[0], 1, 2) == [{"note_duration_dist": 3}]
