"""A server over small random models, and bodies that clients send it."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fastapi.testclient import TestClient
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.settings import ModelSettings, ServerSettings

from midigpt_core.checkpoint import save_bundle
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.contracts import BundleHeader
from support.inference import engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from fastapi import FastAPI

    from midigpt_core.inference import InferenceEngine


def app(presets: Sequence[str] = ("yellow",), parallel: int = 1, **settings: Any) -> FastAPI:
    """The application with a model for each preset, called like it, that writes ``parallel`` requests at once."""
    models = [Model(name, f"{name}.pt", shared_engine(name), ThreadPoolExecutor(parallel)) for name in presets]
    listed = [ModelSettings(id=name) for name in presets]
    made = build_app(Models(models), ServerSettings(models=listed, **settings), lambda: None)
    #: What runs the generations of each model: a test can keep it busy.
    made.state.pools = [model.pool for model in models]
    return made


def shared_engine(preset: str) -> InferenceEngine:
    """The small engine of a preset with a reader for several threads; that of other tests keeps its own."""
    made = copy.copy(engine(preset))
    made._reader = None
    made.share_reader()
    return made


def client(presets: Sequence[str] = ("yellow",), **settings: Any) -> TestClient:
    return TestClient(app(presets, **settings), base_url="http://127.0.0.1:3456")


def note(pitch: int, onset: int = 0, duration: int = 12, velocity: int = 80) -> dict[str, int]:
    return {"pitch": pitch, "velocity": velocity, "onset_ticks": onset, "duration_ticks": duration}


def score(num_bars: int = 4, *, drums: bool = True, resolution: int = 12) -> dict[str, Any]:
    """A melody, and drums if asked for."""
    melody = [{"notes": [note(60 + bar % 12), note(64, 24)]} for bar in range(num_bars)]
    tracks: list[dict[str, Any]] = [{"instrument": 33, "track_type": "melodic", "bars": melody}]
    if drums:
        tracks.append({"track_type": "drum", "bars": [{"notes": [note(36, 0, 1, 100)]} for _ in range(num_bars)]})
    return {"resolution": resolution, "tempo": 600_000, "tracks": tracks}


def body(*bars: int, config: Mapping[str, Any] | None = None, num_bars: int = 4, **more: Any) -> dict[str, Any]:
    """Asks for ``bars`` of the melody."""
    request = {
        "tracks": [{"id": 0, "bars": list(bars)}, {"id": 1, "bars": []}],
        "config": {"model_dim": 4, "seed": 11, **(config or {})},
    }
    return {"score": score(num_bars), "request": request, **more}


def small_bundle(folder: Path) -> Path:
    """A bundle of the small model, in ``folder``."""
    made = engine()
    model: Any = made.model
    header = BundleHeader(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=made.encoder.to_config(),
    )
    return save_bundle(with_weights(header, model.state_dict()), folder / "small.pt")
