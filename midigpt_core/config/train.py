"""Every setting of a training run, what it means, and where its value came from."""

# ruff: noqa: RUF009 (`setting` returns an attrs field, not a default value)

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from midigpt_core.config import choices
from midigpt_core.config.convert import current_name
from midigpt_core.config.counts import MOST_EVALUATION_ROWS, MOST_EXCERPTS
from midigpt_core.config.fields import check, setting
from midigpt_core.config.packaged import preset_file
from midigpt_core.config.reading import read_mapping
from midigpt_core.config.structure import Mismatch
from midigpt_core.config.train_sets import TrainSet, contradictions
from midigpt_core.config.wording import MOST_LISTED, key_name, listed
from midigpt_core.errors import ConfigError, nearest, unknown_name
from midigpt_core.kinds import RUN_KINDS, Kind

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

#: A component by name, or ``{"name": …, option: value, …}``.
Choice = str | dict[str, Any]

Scheduler = Literal[
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt"
]


#: Which copies of a piece are left out of the training data.
Deduplicate = Literal["none", "exact", "near"]

#: Strategies that work. Lightning has more: some lose the run's result, others have requirements that are not met here.
FSDP = "fsdp"
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", FSDP)


def _record_assignment(config: Any, attribute: attrs.Attribute[Any], value: object) -> Any:
    if attribute.name.startswith("_"):
        return value
    try:
        structured = check(attribute, value)
    except Mismatch as mismatch:
        raise ConfigError(listed(mismatch.problems)) from mismatch
    config.note_origin(attribute.name, "default" if structured is None else "assignment")
    return structured


@attrs.define(kw_only=True, on_setattr=_record_assignment)
class TrainConfig:
    """The configuration of a training run.

    Values are checked when they are set, wherever they come from: a wrong type, a number out of range or an unknown
    name raises :class:`~midigpt_core.errors.ConfigError`. :meth:`validate` checks the fields against one another.
    Fields of the first group keep their documented names and defaults; fields of the second add to them without
    changing their meaning.
    """

    # Architecture
    encoder_config_path: str = setting("", "encoder JSON, preset name, or a bundle to take the encoder from", path=True)
    n_embd: int = setting(512, "width of the model, a multiple of n_head", low=1)
    n_layer: int = setting(6, "transformer blocks", low=1)
    n_head: int = setting(8, "attention heads", low=1)
    n_positions: int = setting(2048, "longest sequence the model can take, in tokens", low=2)
    # Data
    max_seq_len: int = setting(2048, "longest training sequence, in tokens; at most n_positions", low=2)
    num_bars_choices: list[int] = setting([4, 8], "window sizes in bars", low=1, length=(1, None))
    min_tracks: int = setting(1, "least tracks of a window", low=1)
    max_tracks: int = setting(4, "most tracks of a window", low=1)
    min_fill_ratio: float = setting(0.75, "least share of a track's window bars that hold notes", low=0, high=1)
    # Objective
    infill_probability: float = setting(0.75, "share of windows with bars to fill in", low=0, high=1)
    infill_bar_fraction: float = setting(0.5, "highest share of bars to fill in; drawn from 0 to this", low=0, high=1)
    mask_apply_probability: float = setting(0.5, "share of windows with masked bars", low=0, high=1)
    mask_mode: int = setting(2, "0 random, 1 structured, 2 mixed; the short spelling of mask", low=0, high=2)
    # Optimisation
    learning_rate: float = setting(1e-4, "peak learning rate, as AdamW takes it", low=0, above=True)
    batch_size: int = setting(16, "sequences per device and micro-batch; packed, a sequence is a packed row", low=1)
    max_steps: int = setting(100_000, "optimiser steps", low=1)
    warmup_steps: int = setting(1000, "optimiser steps of linear warm-up", low=0)
    precision: Literal["fp16", "bf16", "fp32"] = setting("fp16", "arithmetic; fp16 without a GPU becomes fp32")
    # Infrastructure
    num_workers: int = setting(0, "data worker processes; any number gives the same tokens", low=0)
    save_steps: int = setting(5000, "optimiser steps between checkpoints", low=1)
    eval_steps: int = setting(1000, "optimiser steps between evaluations", low=1)
    logger: Choice = setting("none", "logger component: none, tensorboard, wandb, …")
    output_dir: str = setting("checkpoints", "folder of the run", path=True)

    # Components
    source: Choice = setting("gigamidi", "data source component")
    encoder: Choice | None = setting(None, "encoder component; null: chosen by encoder_config_path")
    mask: Choice | None = setting(None, "mask component; null: chosen by mask_mode")
    architecture: Choice = setting("gpt2", "architecture component: gpt2, llama, …")
    optimizer: Choice = setting("muon", "optimiser component: muon, adamw, …")
    checkpoint_format: Choice = setting("pt", "format of the bundles written")
    adapter: Choice = setting("none", "adapter component: none (all weights are trained) or lora; needs init_from")
    mask_bar_fraction: float = setting(0.25, "share of bars that the random mask masks", low=0, high=1)
    mask_max_lookahead: int = setting(4, "most bars that the structured mask masks one after another", low=1)
    # The rest of the objective
    infill_positions: Literal["sequence", "placeholder"] = setting(
        "placeholder", "positions of filled bars: placeholder, those of their bars' places, or sequence"
    )
    infill_track_probability: float = setting(
        0.0, "share of windows with bars to fill in that fill in one whole track instead", low=0, high=1
    )
    loss_on: Literal["all", "targets"] = setting("all", "tokens that count: all, or targets (not the infill's context)")
    train_sets: list[TrainSet] = setting([], "sets {paths, weight, name, source} to mix, in place of --train-data")
    deduplicate: Deduplicate = setting(
        "none", "copies left out of the training data: none, exact, or near (also in other keys, tempos, instruments)"
    )
    # Augmentation
    transpose_range: list[int] = setting(
        [-6, 6], "semitones, least and most", low=-127, high=127, length=(2, 2), ascending=True
    )
    velocity_scale: list[float] = setting(
        [0.8, 1.2], "factor on velocities, least and most", low=0, above=True, length=(2, 2), ascending=True
    )
    time_stretch_probability: float = setting(
        0.0, "share of windows whose notes take half or double their time, on the same grid", low=0, high=1
    )
    bar_rotation_probability: float = setting(0.0, "share of windows whose bars are rotated", low=0, high=1)
    track_dropout: float = setting(0.0, "share of a window's tracks that are left out; min_tracks stay", low=0, high=1)
    genre_probability: float = setting(1.0, "share of windows that say their genre", low=0, high=1)
    velocity_off_probability: float = setting(0.0, "share of windows written without velocity", low=0, high=1)
    microtiming_off_probability: float = setting(0.0, "share of windows written without microtiming", low=0, high=1)
    attributes_off_probability: float = setting(0.0, "share of windows written without any attribute", low=0, high=1)
    attribute_dropout: float = setting(0.0, "share of windows that leave a given attribute out", low=0, high=1)
    # The rest of the optimisation
    seed: int = setting(1, "random seed", low=0, high=2**63 - 1)
    muon_learning_rate: float | None = setting(
        None, "Muon's own rate, usually 0.02; null: derived from learning_rate", low=0, above=True
    )
    weight_decay: float = setting(0.01, "weight decay of matrices other than embeddings", low=0)
    adam_beta1: float = setting(0.9, "AdamW beta 1", low=0, high=1, below=True)
    adam_beta2: float = setting(0.999, "AdamW beta 2", low=0, high=1, below=True)
    gradient_clip: float = setting(1.0, "largest gradient norm; 0: no clipping", low=0)
    accumulation: int = setting(1, "micro-batches per optimiser step", low=1)
    scheduler: Scheduler = setting("cosine", "learning rate after the warm-up, as transformers' get_scheduler names it")
    packing: bool = setting(True, "several documents in a packed row, isolated from one another")
    compile: bool = setting(False, "torch.compile the model")
    gradient_checkpointing: bool = setting(
        False, "compute transformer blocks twice instead of keeping their activations"
    )
    # The rest of the infrastructure
    devices: int = setting(1, "devices per node", low=1)
    num_nodes: int = setting(1, "nodes", low=1)
    strategy: str = setting("auto", "how devices share a step: auto, ddp, ddp_find_unused_parameters_true or fsdp")
    collective_timeout: int = setting(600, "seconds that a rank waits for the others before the run ends", low=1)
    init_from: str = setting("", "bundle to start from: weights and encoder", path=True)
    freeze: list[str] = setting([], "weights that are not trained, by module or parameter name; * and ? are wildcards")
    keep_checkpoints: int = setting(3, "resumable checkpoints kept, the newest", low=1)
    log_steps: int = setting(10, "optimiser steps between log lines", low=1)
    sample_steps: int = setting(0, "optimiser steps between samples of music; 0: none", low=0)
    sample_audio: Literal["none", "ogg", "wav"] = setting("none", "sound files of the samples; needs the extra audio")
    soundfont: str = setting(
        "", "SoundFont bank for sample_audio; empty: MIDIGPT_SOUNDFONT, else one that the system has", path=True
    )
    eval_share: float = setting(
        0.0, "share of the pieces held out for evaluation if there is no evaluation data", low=0, high=1, below=True
    )
    eval_rows: int = setting(64, "packed rows per evaluation", low=1, high=MOST_EVALUATION_ROWS)
    music: int = setting(0, "evaluations between measurements of generated music; 0: none", low=0)
    music_pieces: int = setting(
        32, "excerpts in which a measurement of music generates bars", low=1, high=MOST_EXCERPTS
    )
    music_copy_sample: float = setting(
        1.0, "share of the training data's bars in the index of copies", low=0, high=1, above=True
    )
    copy_limit: float = setting(
        0.0,
        "copy rate that is allowed, as a multiple of that of the evaluation pieces' own bars; 0: not measured",
        low=0,
    )
    copy_excerpts: int = setting(
        16,
        "excerpts of training and of evaluation pieces in which copies are measured",
        low=1,
        high=MOST_EXCERPTS,
    )
    patience: int = setting(0, "evaluations without a lower loss after which the run ends; 0: it does not", low=0)
    metrics: list[Choice] = setting([], "metric components that measure music; empty: all")
    workers: int | None = setting(None, "processes that build the corpus; null: one per core", low=1, high=2**31 - 1)
    run_name: str = setting("", "name shown by loggers; empty: the output folder's")

    _origins: dict[str, str] = attrs.field(init=False, factory=dict, repr=False, eq=False)

    if not TYPE_CHECKING:  # type checkers read the signature that attrs derives

        def __init__(self, **values: object) -> None:
            self.__attrs_init__()
            self.update(values, "keyword")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> TrainConfig:
        """Read a configuration from a ``.json``, ``.yaml`` or ``.toml`` file, or the packaged one of that name
        (``"laptop"``); one error lists all problems in it."""
        return cls.from_mapping(read_mapping(preset_file(str(path)) or path), str(path))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> TrainConfig:
        """A configuration from plain values; ``origin`` (a file name) appears in errors and in :attr:`origins`."""
        config = cls()
        config.update(values, origin)
        return config

    def update(self, values: Mapping[str, Any], origin: str) -> None:
        """Set several fields. If there are problems, sets none and raises one :class:`ConfigError` that lists them."""
        checked: dict[str, Any] = {}
        unknown = [name for name in values if name not in _SETTINGS]
        # Looking for a similar name is slow, so only keys that the message lists are looked up.
        problems = [(key_name(name), _unknown_setting(key_name(name))) for name in unknown[:MOST_LISTED]]
        for name, value in values.items():
            if name not in _SETTINGS:
                continue
            try:
                checked[name] = check(_SETTINGS[name], value)
            except Mismatch as mismatch:
                problems.extend(mismatch.problems)
        if problems:
            raise ConfigError(listed(problems, origin, more=max(0, len(unknown) - MOST_LISTED)))
        for name, value in checked.items():
            object.__setattr__(self, name, value)
            self.note_origin(name, "default" if value is None else origin)

    def set_option(self, field: str, choice: dict[str, Any], option: str, origin: str) -> None:
        """Replace the choice of a component. ``option`` (``"max_lookahead"``, dotted if nested) has changed."""
        object.__setattr__(self, field, choice)
        self.note_origin(f"{field}.{option}", origin)

    def note_origin(self, path: str, origin: str) -> None:
        """Record where the value at ``path`` (``mask``, ``mask.max_lookahead``) came from; ``"default"`` marks it as
        unset."""
        for replaced in [known for known in self._origins if known == path or known.startswith(f"{path}.")]:
            del self._origins[replaced]
        if origin != "default":
            self._origins[path] = origin

    @property
    def set_fields(self) -> frozenset[str]:
        """Fields that a file, flag, keyword or assignment has set."""
        return frozenset(path.split(".", 1)[0] for path in self._origins)

    @property
    def origins(self) -> dict[str, str]:
        """Where each value came from: ``default``, a file's name, a flag, ``keyword`` or ``assignment``."""
        return {**dict.fromkeys(_SETTINGS, "default"), **self._origins}

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain values, for reports; :meth:`set_values` is what configures the same run again."""
        return {name: _plain(getattr(self, name)) for name in _SETTINGS}

    def set_values(self) -> dict[str, Any]:
        """The fields that were set, as content of a file that configures the same run.

        Defaults are left out, because a default in a file counts as set on purpose. Components are written in full and
        without their short spellings, because a short spelling that lost to a stronger one would contradict
        them. Raises :class:`ConfigError` if two spellings of one setting differ.
        """
        values = {name: _plain(getattr(self, name)) for name in _SETTINGS if name in self.set_fields}
        for kind in RUN_KINDS:
            field = kind.setting
            if values.get(field) is not None:
                values[field] = _plain(self.choice(kind))
                for spelling in choices.short_spellings(kind):
                    values.pop(spelling, None)
        return values

    def choice(self, kind: str) -> dict[str, Any]:
        """The chosen component of a kind (``"mask"``, ``"encoder"``, …) as ``{"name": …, options…}``.

        Short spellings (``mask_mode``, ``encoder_config_path``, ``n_embd``, …) become the options that they mean.
        Raises :class:`ConfigError` if two spellings of one setting differ.
        """
        return choices.resolve(self, Kind(kind))

    def validate(self) -> None:
        """Check the fields against one another, as far as this needs neither torch nor the encoder."""
        problems = list(self._contradictions())
        chosen: dict[Kind, dict[str, Any]] = {}
        for kind in RUN_KINDS:
            try:
                chosen[kind] = self.choice(kind)
            except ConfigError as error:
                problems.append(str(error))
        sizes = chosen.get(Kind.ARCHITECTURE, {})
        n_embd, n_head = sizes.get("n_embd"), sizes.get("n_head")
        # The types of sizes in an architecture's options are checked when the options are built.
        if isinstance(n_embd, int) and isinstance(n_head, int) and n_head > 0 and n_embd % n_head:
            problems.append(f"n_embd: {n_embd} is not a multiple of n_head = {n_head}. Change one of them")
        if problems:
            raise ConfigError(listed([("", problem) for problem in problems]))

    def _contradictions(self) -> Iterator[str]:
        if self.max_seq_len > self.n_positions:
            yield (
                f"max_seq_len: {self.max_seq_len} is more than n_positions = {self.n_positions}. "
                "Lower max_seq_len or raise n_positions"
            )
        if self.min_tracks > self.max_tracks:
            yield f"min_tracks: {self.min_tracks} is more than max_tracks = {self.max_tracks}. Lower it"
        if self.sample_audio != "none" and not self.sample_steps:
            yield f"sample_audio: {self.sample_audio} needs samples. Set sample_steps, or sample_audio to none"
        if self.soundfont and self.sample_audio == "none":
            yield "soundfont: is the bank for sample_audio, which is none. Set sample_audio to ogg, or soundfont to ''"
        if choices.as_mapping(self.adapter).get("name") != "none":
            if not self.init_from:
                yield "adapter: adapts a trained model, and none is given. Set init_from to it (--init-from)"
            if self.freeze:
                yield "freeze: an adapter freezes all weights of its base. Leave freeze out, or set adapter.targets"
            if self.strategy == FSDP:
                yield "strategy: an adapter is not split over devices (fsdp). Choose ddp"
        if self.strategy not in STRATEGIES:
            yield f"strategy: {unknown_name('strategy', self.strategy, STRATEGIES).rstrip('.')}"
        yield from contradictions(self.train_sets)


def _unknown_setting(name: str) -> str:
    renamed = current_name(name)
    if renamed is not None:
        return f"unknown key; it is the name of {renamed!r} in midigpt 0.4.2. Run 'midigpt config convert OLD NEW'"
    return "unknown key." + (nearest(name, _SETTINGS) or " 'midigpt config show' lists all keys")


def _plain(value: Any) -> Any:
    if isinstance(value, TrainSet):
        return _plain(value.to_dict())
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


attrs.resolve_types(TrainConfig)
_SETTINGS = {field.name: field for field in attrs.fields(TrainConfig) if field.init}


#: The groups of the fields, each under the first of a run of its fields.
_GROUPS = {
    "encoder_config_path": "architecture",
    "max_seq_len": "data",
    "infill_probability": "objective",
    "learning_rate": "optimisation",
    "num_workers": "infrastructure",
    "source": "components",
    "mask_bar_fraction": "objective",
    "transpose_range": "augmentation",
    "seed": "optimisation",
    "devices": "infrastructure",
    "init_from": "start",
    "keep_checkpoints": "infrastructure",
    "sample_steps": "evaluation and samples",
    "workers": "infrastructure",
}


def setting_help(name: str) -> str:
    """What a field means, in one line."""
    return str(_SETTINGS[name].metadata["help"])


def setting_default(name: str) -> Any:
    return getattr(TrainConfig(), name)


def setting_groups() -> dict[str, list[str]]:
    """The names of all fields by group, in the order in which they are declared."""
    groups: dict[str, list[str]] = {}
    group = ""
    for name in _SETTINGS:
        group = _GROUPS.get(name, group)
        groups.setdefault(group, []).append(name)
    return groups


def is_path(name: str) -> bool:
    """Whether a field names a file or folder."""
    return bool(_SETTINGS[name].metadata["path"])


def setting_names() -> tuple[str, ...]:
    return tuple(_SETTINGS)


def setting_type(name: str) -> Any:
    return _SETTINGS[name].type
