"""The baseline's samples: python stream.py PIECES ENCODER_JSON STEP MIN_TRACKS SAMPLES"""

from __future__ import annotations

import random
import sys

from samples import open_dataset
from serving import serve

pieces, encoder, step, min_tracks, count = sys.argv[1:]
dataset = open_dataset(pieces, encoder, int(step), int(min_tracks))
rng = random.Random(1)


def draw() -> float:
    for _ in range(int(count)):
        dataset[rng.randrange(len(dataset))]
    return int(count)


serve(draw)
