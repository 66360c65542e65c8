"""Keyed numbers against Philox as its paper writes it, and the known answers of its Random123 library."""

from __future__ import annotations

import numpy as np
import pytest

from midigpt_core.keys import Stage, bits, derive, philox, uniforms

_LOW = 0xFFFFFFFF


def philox_of_the_paper(counter: list[int], key: list[int]) -> list[int]:
    """Four 32-bit words of a counter and two of a key to four."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return [c0, c1, c2, c3]


def joined(words: list[int]) -> list[int]:
    return [low | high << 32 for low, high in zip(words[::2], words[1::2], strict=True)]


KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([_LOW] * 4, [_LOW] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter: list[int], key: list[int], answer: list[int]) -> None:
    assert philox_of_the_paper(counter, key) == answer
    found = philox(np.array([joined(counter)], np.uint64), np.array(joined(key), np.uint64))
    assert found.tolist() == [joined(answer)]


def test_many_counters_at_a_time_whatever_their_layout() -> None:
    words = np.random.default_rng(7).integers(0, 1 << 32, (300, 6), np.uint64)
    expected = [joined(philox_of_the_paper(row[:4], row[4:])) for row in words.tolist()]
    counter = np.stack([words[:, 0] | words[:, 1] << np.uint64(32), words[:, 2] | words[:, 3] << np.uint64(32)])
    key = np.repeat(words[:, 4] | words[:, 5] << np.uint64(32), 2)[::2]
    assert philox(counter.T, key).tolist() == expected
    assert philox(counter.T[:0], key[:0]).shape == (0, 2)


def test_derived_keys_and_numbers_are_these_words_of_the_cipher() -> None:
    low, _ = joined(philox_of_the_paper([5, 0, 11, 1 << 31], [3, 0]))
    key = derive(3, Stage.DRAW, 5)
    assert key.tolist() == [low]
    words = [joined(philox_of_the_paper([pair, 0, 0, 0], [low & _LOW, low >> 32])) for pair in range(2)]
    assert bits(key, 3).tolist() == [[*words[0], words[1][0]]]
    assert uniforms(key, 1).tolist() == [[(words[0][0] >> 11) / 2**53]]
