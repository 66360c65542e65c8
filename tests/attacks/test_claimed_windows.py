"""A bundle's windows are numbers in its description: a small file may claim the largest, and they cost little.

A size takes one token whatever it says, so no weight grows with it, and no size of file is too small for it.
"""

from __future__ import annotations

import time
from pathlib import Path

import attrs
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.checkpoint import save_bundle
from midigpt_core.contracts import Bundle
from midigpt_core.errors import ConfigError, MidigptError
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.trained import TrainedWindows, trained_windows
from midigpt_core.score import Score
from support.tiny_gpt2 import tiny_gpt2

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
#: docs/limits.md.
BARS, TRACKS, MEMORY = 20_000, 1_024, 160 << 20


def peak() -> int:
    """Most bytes that were resident since :func:`forget_peak`."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def saved(folder: Path, bars: int) -> Path:
    encoder = MidigptEncoder(attrs.evolve(EncoderConfig.from_preset("yellow"), num_bars_map=(4, bars)))
    model = tiny_gpt2(encoder.vocab_size, 256, n_layer=1, n_head=1)
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={"stream": {"num_bars_choices": [bars], "max_tracks": TRACKS}},
        state_dict=model.state_dict(),
    )
    return save_bundle(bundle, folder / f"{bars}.pt")


@pytest.mark.unsanitized
def test_the_largest_window_costs_little(tmp_path: Path) -> None:
    bundles = [saved(tmp_path, bars) for bars in (8, BARS)]
    # No byte of weights comes with it.
    assert abs(bundles[1].stat().st_size - bundles[0].stat().st_size) < 512
    score = Score.from_midi(MIDI / "mutopia_bach_invention_08.mid")
    spent, grown = [], []
    for bundle in bundles:
        forget_peak()
        before, begun = peak(), time.process_time()
        engine = InferenceEngine.from_checkpoint(bundle, "cpu")
        for prompt in (TrackPrompt(id=0, bars=[1]), TrackPrompt(id=0, bars=[30, 31], autoregressive=True)):
            request = GenerationRequest([prompt], InferenceConfig(seed=1))
            if engine.trained.sizes == (BARS,):
                with pytest.raises(MidigptError, match=r"bars 0 to 19999 take more than the model's 256 tokens"):
                    engine.session(score, request).run()
            else:
                engine.session(score, request).run()
        spent.append(time.process_time() - begun)
        grown.append(peak() - before)
    assert engine.trained.sizes == (BARS,)
    assert grown[1] < MEMORY
    assert spent[1] < 5


def test_one_bar_more_is_no_window() -> None:
    values = EncoderConfig.from_preset("yellow").to_dict()
    with pytest.raises(ConfigError, match=f"a window cannot have {BARS + 1} bars"):
        EncoderConfig.from_mapping({**values, "num_bars_map": [4, BARS + 1]})
    encoder = MidigptEncoder(EncoderConfig.from_mapping({**values, "num_bars_map": [4, BARS]}))
    claimed = {"stream": {"num_bars_choices": [BARS + 1, 10**30], "max_tracks": TRACKS + 1}}
    assert trained_windows(encoder, claimed) == TrainedWindows(sizes=(4, BARS), max_tracks=None)
