"""The music that a bundle's model generates, measured on unseen pieces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from attrs import frozen

from midigpt_core import terminal
from midigpt_core.checkpoint import encoder_ref, load_checkpoint
from midigpt_core.corpus.copy_index import (
    NAME,
    build_copy_index,
    index_of_bundle,
    pieces_digest,
    read_copy_index,
    require_same_corpus,
)
from midigpt_core.corpus.detection import detect_source
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.stream import StreamSpec
from midigpt_core.errors import DataError
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference.devices import device_named
from midigpt_core.music.excerpts import draw_excerpts
from midigpt_core.music.generating import generate
from midigpt_core.music.measuring import chosen_metrics, measure
from midigpt_core.plugins import current_registry
from midigpt_core.training.evaluate import bundle_settings, not_trained_on, split_as_trained
from midigpt_core.training.planning.corpora import gather, listed
from midigpt_core.training.planning.host_memory import host_memory

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.training.planning.corpora import Paths, Pieces

_log = terminal.logger("midigpt_core.training")

#: Excerpts that are measured by default: about a minute on two cores with the model of ``make run``.
DEFAULT_EXCERPTS = 128
#: Below so many different pieces the intervals say too little: an excerpt is drawn as if it were a piece of its own.
_FEW_PIECES = 20


@frozen(kw_only=True)
class MusicSettings:
    """What to measure, and on how much."""

    #: Metrics, each a name or ``{"name": …, options…}``; empty: all of the active plugins.
    metrics: Sequence[str | Mapping[str, Any]] = ()
    #: Excerpts in which bars are generated; as many more are generated for controls.
    excerpts: int = DEFAULT_EXCERPTS
    temperature: float = 1.0
    #: The training data, and a file for its copy index; both None: ``copies.npy`` in the bundle's folder, if it is
    #: there.
    train_data: Paths | None = None
    copy_index: str | os.PathLike[str] | None = None
    #: Share of the bars that a new copy index holds.
    copy_sample: float = 1.0


def evaluate_music(
    checkpoint: str | os.PathLike[str],
    data: Paths,
    *,
    source: str | Mapping[str, Any] | None = None,
    settings: MusicSettings | None = None,
    device: str | None = None,
    workers: int | None = None,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _all: None,
) -> MusicReport:
    """Measure the music that a bundle's model generates in excerpts of ``data``; equal arguments give equal figures.

    ``source`` None: the one that reads what the paths lead to. Pieces that the model was trained on are left out if the
    run held out others of the same data.

    ``progress`` is told what is being done, and how much of it is done and in all. Raises
    :class:`midigpt_core.errors.MidigptError`; metrics that fail raise :class:`midigpt_core.errors.ComponentError`.
    """
    settings = settings or MusicSettings()
    registry = current_registry()
    metrics = chosen_metrics(registry, settings.metrics)
    bundle = load_checkpoint(checkpoint, dtype=torch.float32)
    engine = InferenceEngine.from_bundle(bundle, device_named(device))
    stream = bundle_settings(bundle, engine.encoder, str(checkpoint))

    def collect(paths: Paths) -> Pieces:
        chosen = registry.resolve("source", source or detect_source(registry, listed(paths)))
        return gather(paths, chosen, engine.encoder, stream, workers=workers)

    training = None
    if settings.train_data is not None:
        training, _ = split_as_trained(collect(settings.train_data), bundle, str(checkpoint))
    known = _known_bars(
        Path(checkpoint),
        str(bundle.provenance.get("corpus") or ""),
        training,
        settings,
        progress,
    )
    if known is None and "copy_rate" in metrics:
        _log.warning(
            "copy_rate is not measured: give --train-data, or --copy-index with the %s of the bundle's run.", NAME
        )
    pieces = not_trained_on(collect(data), bundle, str(checkpoint))
    spec = StreamSpec(
        shards=pieces.shards,
        sources=pieces.sources,
        pieces=pieces.valid,
        encoder=encoder_ref(bundle),
        mask=None,
        settings=stream,
    )
    excerpts = draw_excerpts(spec, engine.encoder, settings.excerpts)
    if excerpts.pieces < _FEW_PIECES:
        _log.warning(
            "Only %d different pieces are measured: the figures say little of other music. Give more data.",
            excerpts.pieces,
        )
    music = generate(
        engine,
        excerpts,
        temperature=settings.temperature,
        progress=lambda state: progress("generating", state.done, state.total),
    )
    assert music is not None
    return measure(metrics, music, engine.encoder, training_bars=known, pieces=excerpts.pieces)


def _known_bars(
    bundle: Path,
    trained_on: str,
    training: Pieces | None,
    settings: MusicSettings,
    progress: Callable[[str, int, int], None],
) -> CopyIndex | None:
    """The bars of the training corpus; None if no index and no training data are given.

    ``trained_on``: the fingerprint of its corpus, empty if it does not say;
    ``training``: the pieces of the training data, if they are given. Raises :class:`midigpt_core.errors.DataError` for
    another corpus.
    """
    path = None if settings.copy_index is None else Path(settings.copy_index)
    if training is None:
        return index_of_bundle(bundle, trained_on) if path is None else _read(path, trained_on)
    if trained_on:
        require_same_corpus(training.fingerprint, trained_on, "--train-data")
    if path is not None and path.exists():
        index = _read(path, training.fingerprint)
        if index.pieces not in ("", pieces_digest(training.valid)):
            raise DataError(
                f"{path}: made of other pieces of the training data than the model was trained on. Name a new file, "
                "which will be written."
            )
        return index
    built = build_copy_index(
        open_corpus(training.shards),
        training.valid,
        most_bytes=host_memory() // 4,
        sample=settings.copy_sample,
        progress=lambda done, total: progress("indexing the training corpus", done, total),
    )
    if path is not None and built is not None:
        built.save(path)
    return built


def _read(path: Path, corpus: str) -> CopyIndex:
    index = read_copy_index(path)
    # A bundle of another program does not say what it was trained on.
    if corpus:
        require_same_corpus(index.corpus, corpus, str(path))
    return index
