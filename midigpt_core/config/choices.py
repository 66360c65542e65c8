"""The components that a configuration chooses, and the short spellings of their options.

``mask_mode``, ``encoder_config_path`` and the model's sizes are older than the options of components and stay valid. So
an option can be set in two spellings. If their strengths differ (default < file < flag, keyword, assignment), the
stronger one wins; if they are equal, the values must agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK_OF_MODE = ("random", "structured", "mixed")

_SIZES = {"n_embd": "n_embd", "n_layer": "n_layer", "n_head": "n_head"}
_BAR_FRACTION = {"bar_fraction": "mask_bar_fraction"}
_MAX_LOOKAHEAD = {"max_lookahead": "mask_max_lookahead"}

#: Kind -> component -> option -> the field that is its short spelling.
_SHORT_OPTIONS: Mapping[Kind, Mapping[str, Mapping[str, str]]] = {
    Kind.MASK: {"random": _BAR_FRACTION, "structured": _MAX_LOOKAHEAD, "mixed": _BAR_FRACTION | _MAX_LOOKAHEAD},
    Kind.ENCODER: {"midigpt": {"config": "encoder_config_path"}},
    Kind.ARCHITECTURE: {"gpt2": _SIZES, "llama": _SIZES},
    Kind.OPTIMIZER: {"muon": {"learning_rate": "muon_learning_rate"}},
}

#: The component of a choice without a name; for the mask, ``mask_mode`` decides.
_DEFAULT_NAMES: Mapping[Kind, str] = {
    Kind.SOURCE: "gigamidi",
    Kind.ENCODER: "midigpt",
    Kind.ARCHITECTURE: "gpt2",
    Kind.OPTIMIZER: "muon",
    Kind.LOGGER: "none",
    Kind.CHECKPOINT_FORMAT: "pt",
    Kind.ADAPTER: "none",
}

#: Plugins whose components have short spellings: ``masking/random`` is ``random``.
_BUNDLED = ("masking", "encoder", "gpt2", "llama", "optimizers")


class Settings(Protocol):
    """The attributes of a :class:`~midigpt_core.config.train.TrainConfig` that this module reads, besides fields by
    name."""

    @property
    def mask_mode(self) -> int: ...

    @property
    def origins(self) -> Mapping[str, str]: ...


def strength(origin: str) -> int:
    """0 default, 1 file, 2 flag, keyword or assignment."""
    if origin == "default":
        return 0
    return 2 if origin.startswith("--") or origin in ("keyword", "assignment") else 1


def as_mapping(choice: str | Mapping[str, Any]) -> dict[str, Any]:
    """``"swing"`` and ``{"name": "swing"}`` as the latter, a copy."""
    return {"name": choice} if isinstance(choice, str) else dict(choice)


def resolve(config: Settings, kind: Kind) -> dict[str, Any]:
    """See :meth:`midigpt_core.config.TrainConfig.choice`."""
    field = kind.setting
    chosen = getattr(config, field)
    choice = {} if chosen is None else as_mapping(chosen)
    if "name" not in choice:
        choice = {"name": _default_name(config, kind), **choice}
    elif kind is Kind.MASK:
        choice = _agree_with_mode(config, choice)
    name = choice["name"]
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{field}.name: expected the name of a component, got {spell(name)}")
    named = spelled_options(kind, name)
    if kind in _SHORT_OPTIONS and not named:
        _refuse_orphans(config, kind, name)
    for option, spelling in named.items():
        _merge(config, field, choice, option, spelling)
    return choice


def spelled_options(kind: Kind, name: str) -> Mapping[str, str]:
    """The options of a component that have a short spelling, each with the field that is it."""
    return _SHORT_OPTIONS.get(kind, {}).get(name.rpartition("/")[2], {}) if _is_bundled(name) else {}


def short_spellings(kind: Kind) -> tuple[str, ...]:
    """The fields that are short spellings of options of the kind's components."""
    options = [spelling for named in _SHORT_OPTIONS.get(kind, {}).values() for spelling in named.values()]
    return tuple(dict.fromkeys(["mask_mode", *options] if kind is Kind.MASK else options))


def _default_name(config: Settings, kind: Kind) -> str:
    return MASK_OF_MODE[config.mask_mode] if kind is Kind.MASK else _DEFAULT_NAMES[kind]


def _is_bundled(name: str) -> bool:
    return "/" not in name or name.partition("/")[0] in _BUNDLED


def _agree_with_mode(config: Settings, choice: dict[str, Any]) -> dict[str, Any]:
    """Check that ``mask_mode`` and ``mask`` name the same strategy, unless one of them is stronger."""
    mode = MASK_OF_MODE[config.mask_mode]
    by_mode, by_name = config.origins["mask_mode"], config.origins["mask"]
    if strength(by_mode) < strength(by_name) or choice["name"] in (mode, f"masking/{mode}"):
        return choice
    if strength(by_mode) > strength(by_name):
        return {"name": mode}
    raise ConfigError(
        f"mask_mode = {config.mask_mode} ({mode}; {by_mode}) and mask = {spell(choice['name'])} ({by_name}) choose "
        "different masks. Keep one of them"
    )


def left_over(config: Settings, kind: Kind, name: str) -> tuple[str, ...]:
    """The short spellings that a configuration file sets and component ``name`` does not take."""
    taken = spelled_options(kind, name).values()
    return tuple(
        spelling
        for spelling in short_spellings(kind)
        if spelling != "mask_mode"
        and spelling not in taken
        and strength(config.origins[spelling]) == 1
        and getattr(config, spelling) not in ("", None)
    )


def _refuse_orphans(config: Settings, kind: Kind, name: str) -> None:
    """Raise if a short spelling was set on purpose but the chosen component does not use it."""
    field, origins = kind.setting, config.origins
    for spelling in short_spellings(kind):
        if spelling == "mask_mode":  # _agree_with_mode has settled it
            continue
        # A setting weaker than the component's choice is a leftover of the file; an empty one sets nothing.
        if strength(origins[spelling]) < max(1, strength(origins[field])) or getattr(config, spelling) in ("", None):
            continue
        raise ConfigError(
            f"{spelling} ({origins[spelling]}) and {field} = {spell(name)} ({origins[field]}) do not go together: this "
            f"{kind.words} takes its options in the setting {field}. Keep one of them"
        )


def _merge(config: Settings, field: str, choice: dict[str, Any], option: str, spelling: str) -> None:
    """Write the short spelling's value into ``choice``, or check that its own value agrees."""
    value, origins = getattr(config, spelling), config.origins
    here = origins.get(f"{field}.{option}", origins[field])
    if option not in choice:
        if value not in ("", None):
            choice[option] = value
    elif strength(origins[spelling]) > strength(here):
        choice[option] = value
    elif strength(origins[spelling]) == strength(here) and choice[option] != value:
        raise ConfigError(
            f"{spelling} = {spell(value)} ({origins[spelling]}) and {field}.{option} = {spell(choice[option])} "
            f"({here}) differ. Keep one of them"
        )
