"""The identity of a run: what a checkpoint must have in common with the run that continues it."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import asdict, evolve, frozen

from midigpt_core.config.choices import left_over
from midigpt_core.errors import CheckpointError
from midigpt_core.kinds import Kind
from midigpt_core.plugins import current_registry
from midigpt_core.records import SEQUENCE
from midigpt_core.terminal import logger
from midigpt_core.training.keeping.changed_settings import Effect, changes, effective_settings, refuse
from midigpt_core.training.planning.chosen import choose_optimizer
from midigpt_core.training.planning.positions import settle_positions
from midigpt_core.training.planning.resume import differences, require_same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midigpt_core.records import Vocabulary
    from midigpt_core.training.keeping.changed_settings import Change
    from midigpt_core.training.planning.prepare import Plan


_log = logger(__name__)
#: The origin of a setting that the run has from its checkpoint.
_CHECKPOINT = "the checkpoint"
_OTHERWISE = "the run does not continue bit for bit"


@frozen(kw_only=True)
class Changes:
    """What changed since the run that is continued."""

    settings: Sequence[Change]
    #: The effective settings of the checkpoint, as far as they are stored in it.
    settings_before: Mapping[str, Any]
    #: Changes of what else the next loss depends on, and of what evaluation losses depend on: path, new value, old
    #: value.
    stream: Sequence[tuple[str, Any, Any]]
    evaluation: Sequence[tuple[str, Any, Any]]
    #: Whether the run is evaluated.
    is_evaluated: bool

    @property
    def new_evaluation(self) -> bool:
        """Whether evaluation losses cannot be compared with earlier ones."""
        return bool(self.evaluation) and self.is_evaluated

    @property
    def rate(self) -> bool:
        """Whether the learning rate changed."""
        return any(change.effect is Effect.RATE for change in self.settings)

    def lines(self, step: int) -> Iterator[str]:
        """The warnings to log when the run continues after ``step``."""
        ends = {
            Effect.MODEL: "the model is the same",
            Effect.COURSE: _OTHERWISE,
            Effect.RATE: f"the learning rate follows the new settings from step {step + 1} on",
            Effect.EVALUATION: _evaluations_differ(step),
            Effect.AROUND: "losses and weights do not depend on it",
        }
        for change in self.settings:
            yield f"{change}: {ends[change.effect]}."
        for path, ours, theirs in self.stream:
            yield f"{path} was {theirs} and is {ours}: {_OTHERWISE}."
        if self.evaluation and not self.is_evaluated:
            yield "evaluation data: none is given any more. The run is not evaluated."
        other = next((difference for difference in self.evaluation if difference[0] != "evaluation.rows"), None)
        if other and self.is_evaluated:
            path, ours, theirs = other
            yield f"{path} was {theirs} and is {ours}: {_evaluations_differ(step)}."
        if "learning_rate" not in self.settings_before:
            yield "the checkpoint is of an earlier version and has no settings: the settings of this run are used."


def _evaluations_differ(step: int) -> str:
    return f"evaluations up to step {step} cannot be compared with later ones; the best is chosen among the later ones"


@frozen(kw_only=True)
class RunIdentity:
    """The identity of a run as plain values, stored in every resumable checkpoint."""

    #: Architecture, encoder and vocabulary, which the weights depend on.
    model: Mapping[str, Any]
    #: The music that packed rows are drawn from.
    corpus: Mapping[str, Any]
    #: The configuration, as it takes effect
    #: (:func:`midigpt_core.training.keeping.changed_settings.effective_settings`).
    settings: Mapping[str, Any]
    #: Everything other than settings that the next loss depends on, to the last bit.
    stream: Mapping[str, Any]
    #: What evaluation losses depend on; empty: there are no evaluations.
    evaluation: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {name: dict(values) for name, values in asdict(self, recurse=False).items()}

    def check(self, saved: Mapping[str, Any], *, accept_new_data: bool) -> Changes:
        """Compare this run with the run that it continues, which has the identity ``saved``.

        Raises :class:`midigpt_core.errors.CheckpointError`, naming the first field that differs, if the weights belong
        to another model, if a setting was changed that must not be, or if the corpus differs and ``accept_new_data`` is
        not set.
        """
        require_same(
            self.model,
            saved.get("model", {}),
            "the checkpoint is of another model",
            "Continue the run that it belongs to, or start a new run in another output_dir. With init_from a new run"
            " starts from the weights of a bundle.",
        )
        before = _settings_of(saved)
        settings = tuple(changes(self.settings, before))
        for change in settings:
            refuse(change)
        corpus = [*differences({"corpus": dict(self.corpus)}, {"corpus": dict(saved.get("corpus", {}))})]
        if corpus and not accept_new_data:
            path, ours, theirs = corpus[0]
            raise CheckpointError(
                f"the corpus is not the checkpoint's: {path} was {theirs!r} and is {ours!r}. Give the data of that run,"
                " or continue with the new data: --accept-new-data (accept_new_data=True)."
            )
        theirs = saved.get("stream", {})
        known = {name: value for name, value in self.stream.items() if name in theirs}
        evaluation = saved.get("evaluation")
        return Changes(
            settings=settings,
            settings_before=before,
            stream=(*corpus[:1], *differences(known, {name: theirs[name] for name in known})),
            evaluation=()
            if evaluation is None
            else tuple(
                differences({"evaluation": _with_known(self.evaluation, evaluation)}, {"evaluation": dict(evaluation)})
            ),
            is_evaluated=bool(self.evaluation),
        )


def _with_known(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """``ours`` without settings of the stream that ``theirs``, of an earlier version, do not have: an evaluation has
    them off."""
    known = theirs.get("stream", {})
    stream = {name: value for name, value in ours.get("stream", {}).items() if name in known}
    return {**ours, **({"stream": stream} if "stream" in ours else {})}


def _settings_of(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    """The effective settings of a checkpoint. Earlier versions stored only a few of them, elsewhere."""
    # An earlier version had no other optimiser.
    return {"optimizer": {"name": "adamw"}, **_kept_settings(saved)}


def _kept_settings(saved: Mapping[str, Any]) -> Mapping[str, Any]:
    if "settings" in saved:
        return dict(saved["settings"])
    stream = dict(saved.get("stream", {}))
    kept = {name: stream[name] for name in ("batch_size", "accumulation", "loss_on") if name in stream}
    return {**dict(stream.get("settings", {})), **kept}


def as_begun(plan: Plan, saved: Mapping[str, Any]) -> Plan:
    """``plan`` with what the run that it continues, which has the identity ``saved``, has by default: its optimiser and
    how it numbers filled bars, unless the configuration sets them.

    A run thus keeps them if a default changes. A file's options for another optimiser are dropped with a warning.
    Raises :class:`midigpt_core.errors.MidigptError` if no plugin provides the optimiser any more.
    """
    return _with_its_positions(_with_its_optimizer(plan, saved), saved)


def _with_its_optimizer(plan: Plan, saved: Mapping[str, Any]) -> Plan:
    kept = _settings_of(saved)["optimizer"]
    name = kept.get("name") if isinstance(kept, dict) else None
    is_named = Kind.OPTIMIZER.setting in plan.config.set_fields
    if is_named or not isinstance(name, str) or name == plan.config.choice(Kind.OPTIMIZER)["name"]:
        return plan
    config = copy.deepcopy(plan.config)
    for setting in left_over(config, Kind.OPTIMIZER, name):
        _log.warning(
            "%s (%s) is ignored: the run was begun with optimizer %r, which does not take it.",
            setting, config.origins[setting], name,
        )  # fmt: skip
        config.update({setting: None}, _CHECKPOINT)
    config.update({Kind.OPTIMIZER.setting: name}, _CHECKPOINT)
    optimizer = choose_optimizer(config, current_registry())
    return evolve(plan, config=config, chosen=evolve(plan.chosen, optimizer=optimizer))


def _with_its_positions(plan: Plan, saved: Mapping[str, Any]) -> Plan:
    match saved:
        case {"model": {"encoder_config": dict() as stored}}:
            kept = str(stored.get("infill_positions", SEQUENCE))
        case _:
            return plan
    config = copy.deepcopy(plan.config)
    chosen, encoder = settle_positions(config, plan.chosen, current_registry(), kept=kept)
    if encoder.infill_positions == plan.encoder.infill_positions:
        return plan
    return evolve(
        plan,
        config=config,
        chosen=chosen,
        encoder=encoder,
        training=evolve(plan.training, encoder=chosen.encoder),
        evaluation=plan.evaluation and evolve(plan.evaluation, encoder=chosen.encoder),
    )


def identify(
    plan: Plan, model: Any, precision: str, *, adapter: Mapping[str, Any] | None = None, base_weights: str = ""
) -> RunIdentity:
    """The identity of a planned run. ``precision``: the arithmetic that the run uses on this machine. ``adapter``: the
    adapter in ``model`` as plain values; ``base_weights``: the hash of the weights that it was put into."""
    config = plan.config
    evaluation = plan.evaluation
    return RunIdentity(
        model={
            **({"freeze": list(config.freeze)} if config.freeze else {}),
            **({"adapter": dict(adapter), "base_weights": base_weights} if adapter is not None else {}),
            "architecture": plan.chosen.architecture.name,
            "architecture_config": dict(model.architecture_config()),
            "encoder": plan.chosen.encoder.name,
            "encoder_config": dict(plan.encoder.to_config()),
            "vocabulary": _vocabulary(plan.encoder.vocabulary),
        },
        corpus={
            # The most informative field first: errors name the first difference.
            "pieces": plan.train_pieces.corpus_pieces,
            "shards": len(plan.train_pieces.shards),
            "fingerprint": plan.train_pieces.fingerprint,
        },
        settings=effective_settings(
            config, plan.training.settings, precision, plan.chosen.optimizer, dict(adapter or {"name": "none"})
        ),
        stream={
            "mask": plan.training.mask.name if plan.training.mask else None,
            "threads": torch.get_num_threads(),
        },
        evaluation={}
        if evaluation is None or plan.eval_pieces is None
        else {
            "pieces": plan.eval_pieces.corpus_pieces,
            "fingerprint": plan.eval_pieces.fingerprint,
            "rows": config.eval_rows,
            "stream": json.loads(json.dumps(asdict(evaluation.settings))),
        },
    )


def _vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """A digest of the vocabulary: with the same configuration, another plugin version may number tokens differently."""
    tokens = np.stack([vocabulary.type_of.astype("<i4"), vocabulary.value_of.astype("<i4")])
    return {
        "size": vocabulary.size,
        "types": list(vocabulary.type_names),
        "tokens": hashlib.sha256(tokens.tobytes()).hexdigest(),
    }
