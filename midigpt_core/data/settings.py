"""The settings that the token stream depends on, besides the corpus and the encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import field, frozen

from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from attrs import Attribute

    from midigpt_core.config import TrainConfig

#: Seed of the evaluation windows: the same for every run, so that losses of different seeds can be compared.
EVALUATION_SEED = 0


def _sizes(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))


def _integers(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _reals(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


def _pair(_settings: StreamSettings, attribute: Attribute[Any], value: tuple[Any, ...]) -> None:
    if len(value) != 2 or value[0] > value[1]:
        raise ConfigError(f"{attribute.name} is {list(value)}. Give the lowest and the highest value.")


@frozen(kw_only=True)
class StreamSettings:
    """The fields of the training configuration that decide what a packed row contains.

    Names, defaults and ranges are those of :class:`midigpt_core.config.TrainConfig`.
    """

    seed: int = 1
    #: Tokens of a packed row, and the longest document.
    max_seq_len: int = 2048
    #: Window sizes in bars, ascending.
    num_bars_choices: tuple[int, ...] = field(default=(4, 8), converter=_sizes)
    min_tracks: int = 1
    max_tracks: int = 4
    min_fill_ratio: float = 0.75
    infill_probability: float = 0.75
    infill_bar_fraction: float = 0.5
    mask_apply_probability: float = 0.5
    infill_track_probability: float = 0.0
    #: Semitones, both ends included.
    transpose_range: tuple[int, int] = field(default=(-6, 6), converter=_integers, validator=_pair)
    velocity_scale: tuple[float, float] = field(default=(0.8, 1.2), converter=_reals, validator=_pair)
    time_stretch_probability: float = 0.0
    bar_rotation_probability: float = 0.0
    track_dropout: float = 0.0
    genre_probability: float = 1.0
    velocity_off_probability: float = 0.0
    microtiming_off_probability: float = 0.0
    attributes_off_probability: float = 0.0
    attribute_dropout: float = 0.0
    #: Whether a packed row contains several documents or one.
    packing: bool = True

    def __attrs_post_init__(self) -> None:
        if self.max_tracks < self.min_tracks:
            raise ConfigError(f"max_tracks is {self.max_tracks}. Give at least min_tracks, {self.min_tracks}.")

    @classmethod
    def from_config(cls, config: TrainConfig) -> StreamSettings:
        return cls(**{name: getattr(config, name) for name in attrs.fields_dict(cls)})

    def evaluation(self, *, infill: bool = False) -> StreamSettings:
        """Settings for evaluation, with the same windows for every run: no augmentation, nothing masked, every switch
        on, no infill unless ``infill`` is True, and then of bars, not of whole tracks."""
        return attrs.evolve(
            self,
            seed=EVALUATION_SEED,
            infill_probability=self.infill_probability if infill else 0.0,
            mask_apply_probability=0.0,
            infill_track_probability=0.0,
            transpose_range=(0, 0),
            velocity_scale=(1.0, 1.0),
            time_stretch_probability=0.0,
            bar_rotation_probability=0.0,
            track_dropout=0.0,
            velocity_off_probability=0.0,
            microtiming_off_probability=0.0,
            attributes_off_probability=0.0,
            attribute_dropout=0.0,
        )
