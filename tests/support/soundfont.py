"""A SoundFont bank of a few kilobytes: sines and a burst of noise, so that a test knows what it must hear."""

from __future__ import annotations

import struct

import numpy as np

RATE = 44_100
#: The sine of every program is an octave higher or lower than it is written, by so many semitones.
TRANSPOSED = {0: 0, 40: 12}
_CYCLES = 40
_ROOT = 69
_PERIOD = RATE / 440
#: Generators of the format.
_PAN, _RELEASE, _INSTRUMENT, _SAMPLE, _MODES, _ROOT_KEY, _COARSE = 17, 38, 41, 53, 54, 58, 51
_SEND_CHORUS, _SEND_REVERB = 15, 16


def soundfont() -> bytes:
    """A bank with programs 0 and 40, looped sines, and drums, a click of noise of 50 ms whatever the key."""
    length = round(_CYCLES * _PERIOD)
    sine = 0.5 * np.sin(2 * np.pi * np.arange(length) * _CYCLES / length)
    noise = 0.5 * np.random.default_rng(1).uniform(-1, 1, RATE // 20)
    gap = np.zeros(46)
    samples = np.concatenate([sine, gap, noise, gap])
    places = [("sine", 0, length, 0, length), ("noise", length + 46, length + 46 + len(noise), 0, 0)]

    presets = [(0, 0, "sine"), (40, 0, "high"), (0, 128, "drums")]
    looped = [(_RELEASE, -7973), (_MODES, 1)]  # a release of 10 ms
    instruments = [
        [*looped, (_SAMPLE, 0)],
        [*looped, (_COARSE, TRANSPOSED[40]), (_SAMPLE, 0)],
        [(56, 0), (_SAMPLE, 1)],  # 56: keys do not change the pitch
    ]
    phdr = b"".join(_preset(name, program, bank, index) for index, (program, bank, name) in enumerate(presets))
    phdr += _preset("EOP", 0, 0, len(presets))
    pbag = b"".join(struct.pack("<HH", index, 0) for index in range(len(presets) + 1))
    pgen = b"".join(_generator(_INSTRUMENT, index) for index in range(len(presets))) + bytes(4)
    inst = b"".join(struct.pack("<20sH", name.encode(), index) for index, (_, _, name) in enumerate(presets))
    inst += struct.pack("<20sH", b"EOI", len(presets))
    ends = np.cumsum([0, *map(len, instruments)])
    ibag = b"".join(struct.pack("<HH", end, 0) for end in ends.tolist())
    igen = b"".join(_generator(*pair) for pairs in instruments for pair in pairs) + bytes(4)
    shdr = b"".join(
        struct.pack("<20sIIIIIBbHH", name.encode(), start, end, start + first, start + last, RATE, _ROOT, 0, 0, 1)
        for name, start, end, first, last in places
    ) + struct.pack("<20sIIIIIBbHH", b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)
    tables = {"phdr": phdr, "pbag": pbag, "pmod": bytes(10), "pgen": pgen, "inst": inst, "ibag": ibag}
    tables |= {"imod": bytes(10), "igen": igen, "shdr": shdr}
    info = _chunk("ifil", struct.pack("<HH", 2, 1)) + _chunk("isng", b"EMU8000\0") + _chunk("INAM", b"test\0\0")
    smpl = _chunk("smpl", (samples * 32767).astype("<i2").tobytes())
    pdta = b"".join(_chunk(name, content) for name, content in tables.items())
    return _chunk("RIFF", b"sfbk" + _list("INFO", info) + _list("sdta", smpl) + _list("pdta", pdta))


def _preset(name: str, program: int, bank: int, first_bag: int) -> bytes:
    return struct.pack("<20sHHHIII", name.encode(), program, bank, first_bag, 0, 0, 0)


def _generator(kind: int, amount: int) -> bytes:
    return struct.pack("<Hh", kind, amount)


def _chunk(name: str, content: bytes) -> bytes:
    return name.encode() + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _list(name: str, content: bytes) -> bytes:
    return _chunk("LIST", name.encode() + content)
