"""The share of padding in the baseline's batches of 16: python padding.py PIECES ENCODER_JSON STEP BATCHES"""

from __future__ import annotations

import random
import sys

from midigpt.training import MidiGPTCollator
from samples import open_dataset
from serving import serve

pieces, encoder, step, batches = sys.argv[1:]
dataset = open_dataset(pieces, encoder, int(step))
collate = MidiGPTCollator(max_seq_len=2048)
rng = random.Random(1)


def share() -> float:
    tokens = positions = 0
    for _ in range(int(batches)):
        batch = collate([dataset[rng.randrange(len(dataset))] for _ in range(16)])
        tokens += int(batch["attention_mask"].sum())
        positions += batch["attention_mask"].numel()
    return 1 - tokens / positions


serve(share)
