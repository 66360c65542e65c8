"""The validation losses of a bundle: the same figures that its training run reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from attrs import asdict, evolve, field, frozen
from attrs.validators import ge, le

from midigpt_core import terminal
from midigpt_core.checkpoint import build_encoder, build_model, encoder_ref, load_checkpoint
from midigpt_core.checkpoint.assemble import architecture_ref
from midigpt_core.config import TrainConfig
from midigpt_core.config.counts import LARGEST_COUNT, MOST_EVALUATION_ROWS
from midigpt_core.config.structure import structure_class
from midigpt_core.corpus.detection import detect_source
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.errors import ConfigError
from midigpt_core.inference.devices import device_named
from midigpt_core.inference.fields import integers_within
from midigpt_core.plugins import current_registry
from midigpt_core.plugins.faults import faults_named
from midigpt_core.training.loop.data_module import first_rows
from midigpt_core.training.loop.losses import LossTally, token_losses
from midigpt_core.training.loop.precision import arithmetic
from midigpt_core.training.planning.copies import without_copies
from midigpt_core.training.planning.corpora import gather, listed
from midigpt_core.training.planning.held_out import hold_out
from midigpt_core.training.planning.host_memory import require_rows_fit
from midigpt_core.training.planning.objective import stream_settings

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from midigpt_core.contracts import BundleHeader, Encoder
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.planning.corpora import Paths, Pieces

_log = terminal.logger("midigpt_core.training")


def evaluate(
    checkpoint: str | os.PathLike[str],
    data: Paths,
    *,
    source: str | Mapping[str, Any] | None = None,
    rows: int | None = None,
    batch_size: int | None = None,
    precision: str | None = None,
    device: str | None = None,
    workers: int | None = None,
    bars: int | None = None,
) -> EvaluationReport:
    """Mean losses of a bundle on the shards of ``data``. On its run's ``eval_path`` they equal the run's own figures.

    ``source`` None: the one that reads what ``data`` leads to.

    Windows are drawn as in the bundle's training, or by the defaults if the bundle does not say how. They are always
    the same, without augmentation or masked bars. Evaluates ``rows`` packed rows in batches of ``batch_size`` in
    ``precision`` (``"fp16"``, ``"bf16"``, ``"fp32"``; fp16 without a GPU is fp32). None means as in the bundle's
    training, else 64, 16 and ``"fp32"``. ``device`` None: the GPU if there is one; ``"auto"``: also mps. With
    ``bars``, windows have that many bars and rows are as long as the model can take. Raises
    :class:`midigpt_core.errors.MidigptError`.
    """
    asked = {"rows": rows, "batch_size": batch_size, "precision": precision}
    given = integers_within({name: value for name, value in asked.items() if value is not None})
    structure_class(given, _RunSettings, "evaluate")
    bundle = load_checkpoint(checkpoint, dtype=torch.float32)
    model = build_model(bundle, device=device_named(device), path=checkpoint)
    encoder = build_encoder(bundle)
    settings = bundle_settings(bundle, encoder, str(checkpoint))
    if bars is not None:
        settings = _of_bars(settings, bars, bundle, encoder)
    registry = current_registry()
    chosen = registry.resolve("source", source or detect_source(registry, listed(data)))
    pieces = not_trained_on(gather(data, chosen, encoder, settings, workers=workers), bundle, str(checkpoint))
    spec = StreamSpec(
        shards=pieces.shards,
        sources=pieces.sources,
        pieces=pieces.valid,
        encoder=encoder_ref(bundle),
        plugin_attributes=encoder.plugin_attributes,
        mask=None,
        settings=settings.evaluation(infill=True),
    )
    how = evolve(_run_settings(bundle, str(checkpoint)), **given)
    require_rows_fit(
        max_tracks=spec.settings.max_tracks, max_seq_len=spec.settings.max_seq_len, batch_size=how.batch_size
    )
    with faults_named((architecture_ref(bundle),), lambda: "in evaluation"):
        return losses_on(model, encoder, spec, rows=how.rows, batch_size=how.batch_size, precision=how.precision)


def losses_on(
    model: Any, encoder: Encoder, spec: StreamSpec, *, rows: int, batch_size: int, precision: str
) -> EvaluationReport:
    """The losses of ``model``, in evaluation mode, on the first ``rows`` packed rows of ``spec``."""
    place = next(model.parameters()).device
    tally = LossTally(encoder.vocabulary)
    with torch.inference_mode(), arithmetic(precision, place):
        for batch in first_rows(spec, rows, batch_size):
            moved = {name: values.to(place) for name, values in batch.items()}
            logits = model(moved["input_ids"], position_ids=moved["position_ids"], document_ids=moved["document_ids"])
            tally.add(token_losses(logits, moved["labels"]), moved)
    return tally.report()


def _of_bars(settings: StreamSettings, bars: int, bundle: BundleHeader, encoder: Encoder) -> StreamSettings:
    """``settings`` with windows of ``bars`` bars, in rows as long as the model can take."""
    if encoder.window_sizes and bars not in encoder.window_sizes:
        sizes = ", ".join(map(str, encoder.window_sizes))
        raise ConfigError(f"bars: {bars} is not a window size of the bundle's encoder. Choose among {sizes}.")
    TrainConfig.from_mapping({"num_bars_choices": [bars]}, "bars")
    return evolve(settings, num_bars_choices=(bars,), max_seq_len=_longest(bundle))


def split_as_trained(pieces: Pieces, bundle: BundleHeader, path: str) -> tuple[Pieces, Pieces | None]:
    """The pieces that the run was trained on, and those that it held out; None if it held none of them out.

    ``pieces`` may be of any corpus: the run left copies out, and held something out, only of its own.
    """
    provenance = bundle.provenance
    if provenance.get("corpus") != pieces.fingerprint:
        return pieces, None
    # The file is untrusted.
    chosen = {"deduplicate": provenance.get("deduplicate", "none"), "eval_share": provenance.get("held_out", 0.0)}
    config = TrainConfig.from_mapping(chosen, f"{path}: provenance")
    if config.deduplicate != "none":
        pieces = without_copies(pieces, config.deduplicate)
    if not config.eval_share:
        return pieces, None
    (trained_on,), held_out = hold_out([pieces], config.eval_share)
    return trained_on, held_out[0] if held_out else None


def not_trained_on(pieces: Pieces, bundle: BundleHeader, path: str) -> Pieces:
    """The pieces that the run held out, if ``pieces`` are of the corpus that the run was trained on."""
    _, held_out = split_as_trained(pieces, bundle, path)
    if held_out is None:
        if bundle.provenance.get("held_out"):
            _log.warning(
                "the data is not exactly what %s was trained on, so all of it is evaluated: pieces that it was trained "
                "on may be among them, and lower the losses.",
                path,
            )
        return pieces
    _log.info(
        "the data is what %s was trained on: it is evaluated on the %s pieces that were held out.",
        path, f"{len(held_out.valid):,}",
    )  # fmt: skip
    return held_out


@frozen(kw_only=True)
class _RunSettings:
    """How the bundle's run evaluated, apart from the data."""

    rows: int = field(default=TrainConfig().eval_rows, validator=[ge(1), le(MOST_EVALUATION_ROWS)])
    batch_size: int = field(default=TrainConfig().batch_size, validator=[ge(1), le(LARGEST_COUNT)])
    precision: Literal["fp16", "bf16", "fp32"] = "fp32"


def _run_settings(bundle: BundleHeader, path: str) -> _RunSettings:
    stored = bundle.provenance.get("evaluation")
    return _RunSettings() if stored is None else structure_class(stored, _RunSettings, f"{path}: evaluation")


def bundle_settings(bundle: BundleHeader, encoder: Encoder, path: str) -> StreamSettings:
    """How the bundle's run drew its data. The file is untrusted, so its values are checked."""
    stored = bundle.provenance.get("stream")
    if stored is not None:
        settings = structure_class(stored, StreamSettings, f"{path}: stream")
        # Values from a file must be within the configuration's ranges too.
        TrainConfig.from_mapping(asdict(settings), f"{path}: stream")
    else:
        settings = stream_settings(TrainConfig(), encoder)
    return evolve(settings, max_seq_len=min(settings.max_seq_len, _longest(bundle)))


def _longest(bundle: BundleHeader) -> int:
    """Tokens of the longest sequence that the model can take."""
    return int(bundle.architecture_config.get("n_positions", TrainConfig().max_seq_len))
