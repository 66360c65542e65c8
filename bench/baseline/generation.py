"""The baseline writes one track after two others: python generation.py BUNDLE MIDI CANDIDATES LIMIT"""

from __future__ import annotations

import sys

import torch
from midigpt import Score
from midigpt.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from serving import serve

torch.set_num_threads(1)
bundle, midi, candidates, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
engine = InferenceEngine.from_checkpoint(bundle, device="cpu")
score = Score.from_midi(midi)
bars = list(range(len(score.tracks[0].bars)))
prompts = [TrackPrompt(id=0, bars=bars, autoregressive=True)]
prompts += [TrackPrompt(id=track, bars=[]) for track in range(1, len(score.tracks))]
config = InferenceConfig(
    seed=1,
    model_dim=len(bars),
    num_candidates=candidates,
    novelty_check=False,
    silence_check=False,
    max_attempts=1,
    mask_mode="attention",
    density_hard_limit=limit,
)


def write() -> float:
    """Tokens written."""
    session = engine.session(score, GenerationRequest(tracks=prompts, config=config))
    session.run() if candidates == 1 else session.run_variations()
    return float(session.gen_count)


serve(write)
