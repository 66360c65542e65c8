"""Documents and their limits: cut, tracks dropped, too long, refused; neighbours never touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.records import TokenStatus
from support.encoder import corpus_of, documents, encode, piece, preset, spans, status_of, windows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

YELLOW = preset("yellow")
#: Piece 1 has a signature that no preset knows.
CORPUS = corpus_of(piece(), piece(tracks=1, signature=(19, 16)), piece(tracks=4))


def one(request: dict[str, Any], limit: int = 0, encoder: MidigptEncoder = YELLOW) -> tuple[TokenStatus, list[int]]:
    batch = encode(encoder, CORPUS, windows_of([request]), limit)
    return status_of(batch)[0], documents(batch)[0]


def ends_of(encoder: MidigptEncoder, tokens: Sequence[int], *types: str) -> list[int]:
    """Positions just after a token of these types."""
    vocabulary = encoder.vocabulary
    wanted = {vocabulary.type_names.index(name) for name in types}
    return [index + 1 for index, token in enumerate(tokens) if vocabulary.type_of[token] in wanted]


def test_long_documents_are_cut_at_the_last_bar_or_track_that_fits() -> None:
    request = {"tracks": (0, 1), "bars": 4}
    status, whole = one(request)
    assert status == TokenStatus.OK
    ends = ends_of(YELLOW, whole, "BarEnd", "TrackEnd")
    for limit in range(1, len(whole) + 2):
        status, tokens = one(request, limit)
        fitting = [end for end in ends if end <= limit]
        if limit >= len(whole):
            assert (status, tokens) == (TokenStatus.OK, whole)
        elif fitting:
            assert (status, tokens) == (TokenStatus.CUT, whole[: fitting[-1]])
            decoded = YELLOW.decode(np.array(tokens, np.int32))
            assert len(decoded.columns.bar_length) == len(ends_of(YELLOW, tokens, "BarEnd"))
        else:
            assert (status, tokens) == (TokenStatus.TOO_LONG, [])


def test_masked_spans_beyond_the_cut_are_gone() -> None:
    request = {"bars": 4, "mask": [(0, 1), (0, 3)], "span_masks": True}
    whole = encode(YELLOW, CORPUS, windows_of([request]))
    limit = int(whole.masked_spans[1, 2]) - 1
    cut = encode(YELLOW, CORPUS, windows_of([request, request]), [limit, 0])
    assert status_of(cut) == [TokenStatus.CUT, TokenStatus.OK]
    assert spans(cut) == [spans(whole)[0][:1], spans(whole)[0]]


def test_infill_documents_lose_tracks_without_infill_first_and_from_the_last_on() -> None:
    fill = [(1, 0), (3, 2)]
    request = {"piece": 2, "tracks": (2, 0, 3, 1), "bars": 4, "fill": fill}
    # The order in which tracks of the window go.
    kept_in_turn = [(0, 1, 2, 3), (0, 1, 3), (1, 3), (1,)]
    expected = []
    for kept in kept_in_turn:
        cells = [(kept.index(track), bar) for track, bar in fill if track in kept]
        alone = {**request, "tracks": [request["tracks"][t] for t in kept], "fill": cells}
        expected.append(one(alone)[1])
    lengths = [len(tokens) for tokens in expected]
    assert lengths == sorted(lengths, reverse=True)
    for limit in range(1, lengths[0] + 1):
        status, tokens = one(request, limit)
        fitting = [tokens for tokens in expected if len(tokens) <= limit]
        if not fitting:
            assert (status, tokens) == (TokenStatus.TOO_LONG, [])
        else:
            assert tokens == fitting[0]
            assert status == (TokenStatus.OK if limit == lengths[0] else TokenStatus.TRACKS_DROPPED)


def test_refused_windows_leave_their_neighbours_alone() -> None:
    fine = {"tracks": (0, 1), "bars": 4}
    requests = [
        fine,
        {"piece": 1, "bars": 4},  # 19/16
        {"bars": 5},  # no NumBars value
        {"bars": 8, "fill": [(0, 0)]},  # too long for its limit
        fine,
    ]
    batch = encode(YELLOW, CORPUS, windows_of(requests), [0, 0, 0, 10, 0])
    assert status_of(batch) == [
        TokenStatus.OK,
        TokenStatus.UNSUPPORTED_SIGNATURE,
        TokenStatus.UNSUPPORTED_VALUE,
        TokenStatus.TOO_LONG,
        TokenStatus.OK,
    ]
    alone = one(fine)[1]
    assert documents(batch) == [alone, [], [], [], alone]


def test_infill_needs_an_encoder_that_supports_it() -> None:
    encoder = MidigptEncoder(EncoderConfig.from_mapping({"resolution": 12}))
    request = {"bars": 2, "fill": [(0, 0)]}
    assert one(request, encoder=encoder) == (TokenStatus.UNSUPPORTED_VALUE, [])


def test_empty_batches_and_windows() -> None:
    assert len(encode(YELLOW, CORPUS, windows_of([])).tokens) == 0
    status, tokens = one({"tracks": (), "bars": 4})
    assert status == TokenStatus.OK
    assert [YELLOW.vocabulary.name(token) for token in tokens] == ["PieceStart(0)", "NumBars(0)"]
