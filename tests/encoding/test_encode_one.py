"""One window of one score through the contract alone: an encoder in Python, and scores with bars of their own."""

from __future__ import annotations

import pytest

from midigpt_core.encoding.encode_one import Part, encode_part, part_of, window_of
from midigpt_core.errors import EncodingError
from midigpt_core.score import Score
from support.pitch_encoder import START, PitchEncoder, piece

ENCODER = PitchEncoder()


def test_all_of_a_score() -> None:
    part = part_of(piece())
    assert part == Part(first_bar=0, last_bar=3, tracks=(0, 1))
    assert encode_part(ENCODER, piece(), part).tolist() == [START, 60, 61, 62, 63, 36, 38]


def test_a_part_in_the_order_of_its_tracks() -> None:
    part = part_of(piece(), bars=(1, 2), tracks=(1, 0), infill=[(0, 2)])
    assert encode_part(ENCODER, piece(), part).tolist() == [START, 38, 61, 62, START]
    window = window_of(part)
    assert window.infill[0].tolist() == [[False, False], [False, True]]
    assert not window.masked.any()


def test_tracks_with_bars_of_their_own_share_the_fewest() -> None:
    content = piece().to_dict()
    content["tracks"][1] |= {"bars": content["bars"][:3]}
    score = Score.from_dict(content)
    assert part_of(score).last_bar == 2
    assert part_of(score, tracks=[0]).last_bar == 3
    with pytest.raises(EncodingError, match=r"there are no bars 0-3\. Bars are 0 to 2\."):
        part_of(score, bars=(0, 3))


def test_what_an_encoder_cannot_express() -> None:
    odd = piece(signature=5)
    with pytest.raises(EncodingError, match=r"bar 2 .*5/4.* time signature"):
        encode_part(ENCODER, odd, part_of(odd))
    with pytest.raises(EncodingError, match="bar 2 is in 5/4"):
        encode_part(ENCODER, odd, part_of(odd, bars=(1, 3)))
    assert encode_part(ENCODER, odd, part_of(odd, bars=(0, 1))).tolist() == [START, 60, 61, 36]
    foreign = piece(program=127)
    with pytest.raises(EncodingError, match=r"bars 0-3: .*no tokens"):
        encode_part(ENCODER, foreign, part_of(foreign))


@pytest.mark.parametrize("tracks", [[], [-1], [2], [0, 0]])
def test_tracks_that_are_not_there(tracks: list[int]) -> None:
    with pytest.raises(EncodingError, match="track"):
        part_of(piece(), tracks=tracks)
