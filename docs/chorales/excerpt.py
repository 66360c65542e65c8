"""Cut bars out of a WAV file of a chorale, and write them as a small MP3 file: the sounds of the README and the site.

python docs/chorales/excerpt.py runs/music/continued/bwv367-1.wav docs/chorales/continued.mp3 --bars 9-16
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile

#: What docs/chorales/prepare.py gives every chorale.
BEATS_PER_MINUTE, BEATS_PER_BAR = 76, 4
#: How long what still sounds after the last bar fades out, in seconds.
FADE = 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wav", type=Path)
    parser.add_argument("mp3", type=Path)
    parser.add_argument("--bars", required=True, metavar="FIRST-LAST", help="counted from 0")
    arguments = parser.parse_args()
    first, last = map(int, arguments.bars.split("-"))
    samples, rate = soundfile.read(arguments.wav, dtype="float32")
    bar = rate * BEATS_PER_BAR * 60 / BEATS_PER_MINUTE
    cut = samples[round(first * bar) : round((last + 1) * bar + FADE * rate)].copy()
    fade = round(FADE * rate)
    cut[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    with soundfile.SoundFile(
        arguments.mp3,
        "w",
        rate,
        2,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=0.7,
        bitrate_mode="VARIABLE",
    ) as output:
        output.write(cut)


if __name__ == "__main__":
    main()
