"""The baseline encodes windows of every STEP-th piece: python encoding.py PIECES ENCODER_JSON STEP whole|bare

``whole``: a window of the package's own score objects to tokens. ``bare``: only the C++ encoder's call, on windows that
were resampled and converted before.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pyarrow.parquet as pq
from midigpt import Score, _core
from midigpt._converters import to_cpp
from midigpt.augmentation.score_window import select_window
from midigpt.tokenizer import Tokenizer
from serving import serve

path, encoder, step, what = sys.argv[1:]
config = _core.EncoderConfig.from_json(Path(encoder).read_text(encoding="utf-8"))
tokenizer = Tokenizer(config)
rng = random.Random(1)
windows = []
for file in pq.read_table(path, columns=["music"]).column("music").to_pylist()[:: int(step)]:
    score = Score.from_bytes(file)
    for _ in range(2):
        tracks = min(len(score.tracks), rng.randint(1, 4))
        window = select_window(score, rng.choice((4, 8)), tracks, 0.75, rng) if tracks else None
        if window is not None:
            windows.append(window)

if what == "whole":
    serve(lambda: sum(len(tokenizer.encode(window)) for window in windows))
else:
    vocabulary = _core.Vocabulary(config)
    native = _core.Encoder(vocabulary)
    converted = [to_cpp(tokenizer.normalize_input(window)) for window in windows]
    serve(lambda: sum(len(native.encode(window)) for window in converted for _ in range(20)))
