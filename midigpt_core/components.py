"""The frozen records that plugins return, one class per kind of component.

A record gives a component's name and location and never contains the component itself: ``target`` and ``options`` are
import strings (``"package.module:attribute"``). So listing components imports none of them, and a reference can be sent
to a spawned worker.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import Attribute, field, frozen

from midigpt_core.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: The most levels of an attribute control; the native tables have the same limit.
MOST_LEVELS = 1024

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _check_name(_record: object, attribute: Attribute[str], value: object) -> None:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError(f"{attribute.name} {value!r} must be lower-case letters, digits, '-' and '_'")


def _check_target(_record: object, attribute: Attribute[str], value: object) -> None:
    if value is None and attribute.name in ("options", "headers", "merge"):
        return
    if not isinstance(value, str) or not _TARGET.fullmatch(value):
        raise ValueError(f"{attribute.name} {value!r} must be an import string like 'package.module:name'")


def _check_choice(*choices: str) -> Callable[[object, Attribute[Any], object], None]:
    def check(_record: object, attribute: Attribute[Any], value: object) -> None:
        if value not in choices:
            raise ValueError(f"{attribute.name} {value!r} must be one of {', '.join(choices)}")

    return check


def _check_levels(_record: object, attribute: Attribute[Any], value: object) -> None:
    if type(value) is not int or not 2 <= value <= MOST_LEVELS:
        raise ValueError(f"{attribute.name} {value!r} must be a number from 2 to {MOST_LEVELS}")


def _names(values: Iterable[str]) -> frozenset[str]:
    return frozenset(values)


@frozen(kw_only=True)
class ComponentSpec:
    """One component. Build it as ``factory(options, context)`` with the factory that ``target`` names."""

    kind: ClassVar[Kind]

    #: What users write to choose it: lower-case letters, digits, ``-`` and ``_``.
    name: str = field(validator=_check_name)
    #: What it does, in one line for ``midigpt plugins show``.
    summary: str
    #: The factory: ``"package.module:factory"``.
    target: str = field(validator=_check_target)
    #: ``"package.module:OptionsClass"``, an attrs class with a default for every field; None: no options.
    options: str | None = field(default=None, validator=_check_target)
    #: Its capabilities, such as ``kv_cache`` of an architecture.
    provides: frozenset[str] = field(default=frozenset(), converter=_names)
    #: Capabilities that a mask needs of the encoder, such as ``mask_bar``.
    requires: frozenset[str] = field(default=frozenset(), converter=_names)


@frozen(kw_only=True)
class SourceSpec(ComponentSpec):
    """Where pieces come from; builds a :class:`midigpt_core.contracts.Source`."""

    kind: ClassVar[Kind] = Kind.SOURCE

    #: Endings of the names of files that it reads, in lower case with the dot (``.mid``, ``.tar.gz``). A run whose
    #: source is not named takes the one that reads what its paths lead to.
    suffixes: tuple[str, ...] = ()
    #: Schemes of addresses that it reads, such as ``hf`` for ``hf://datasets/…``.
    schemes: tuple[str, ...] = ()


@frozen(kw_only=True)
class EncoderSpec(ComponentSpec):
    """Tokens from windows and scores from tokens; builds a :class:`midigpt_core.contracts.Encoder`."""

    kind: ClassVar[Kind] = Kind.ENCODER

    #: Values of the option ``config`` that come with the plugin, for ``midigpt encoders``.
    presets: tuple[str, ...] = ()


@frozen(kw_only=True)
class MaskSpec(ComponentSpec):
    """Which bars are masked; builds a :class:`midigpt_core.contracts.MaskStrategy`."""

    kind: ClassVar[Kind] = Kind.MASK


@frozen(kw_only=True)
class ArchitectureSpec(ComponentSpec):
    """The model; builds a :class:`midigpt_core.contracts.Architecture`."""

    kind: ClassVar[Kind] = Kind.ARCHITECTURE


@frozen(kw_only=True)
class OptimizerSpec(ComponentSpec):
    """How the weights are stepped; builds a ``torch.optim.Optimizer``."""

    kind: ClassVar[Kind] = Kind.OPTIMIZER


@frozen(kw_only=True)
class LoggerSpec(ComponentSpec):
    """A Lightning logger, or None for no logger."""

    kind: ClassVar[Kind] = Kind.LOGGER


@frozen(kw_only=True)
class CheckpointFormatSpec(ComponentSpec):
    """A way to store a bundle; builds a :class:`midigpt_core.contracts.CheckpointFormat`."""

    kind: ClassVar[Kind] = Kind.CHECKPOINT_FORMAT

    #: ``"package.module:factory"`` of a :class:`midigpt_core.contracts.HeaderReader` that imports no torch; None: the
    #: factory of ``target`` reads headers too.
    headers: str | None = field(default=None, validator=_check_target)
    #: File name suffixes, with the dot. Bundles are written with the first; a format without suffixes is recognised by
    #: content.
    suffixes: tuple[str, ...] = ()
    #: Whether a bundle of this format is a directory.
    is_dir: bool = False
    #: Whether it writes bundles, or only reads them.
    can_save: bool = True
    #: Whether programs read it that number tokens by their places, such as the public package midigpt and transformers.
    read_elsewhere: bool = False
    #: Whether reading can run code from the file; such a format is used only with ``allow_unsafe``.
    unsafe: bool = False


@frozen(kw_only=True)
class MetricSpec(ComponentSpec):
    """Figures of generated music; builds a :class:`midigpt_core.contracts.Metric`."""

    kind: ClassVar[Kind] = Kind.METRIC


@frozen(kw_only=True)
class AttributeSpec(ComponentSpec):
    """An attribute control. Its ``target`` is the function that computes the levels, and is called as it is."""

    kind: ClassVar[Kind] = Kind.ATTRIBUTE

    #: Whether it describes a track or one bar of a track.
    level: Literal["track", "bar"] = field(validator=_check_choice("track", "bar"))
    #: The number of levels, 2 to 1024: a level is an integer from 0 on.
    levels: int = field(validator=_check_levels)
    #: The tracks that have it.
    track_type: Literal["melodic", "drum", "both"] = field(
        default="both", validator=_check_choice("melodic", "drum", "both")
    )

    def __attrs_post_init__(self) -> None:
        if self.options is not None:
            raise ValueError(f"attribute control {self.name!r} has options, which this kind does not take")


@frozen(kw_only=True)
class AdapterSpec(ComponentSpec):
    """A few weights that are trained in place of a model's own; builds a :class:`midigpt_core.contracts.Adapter`."""

    kind: ClassVar[Kind] = Kind.ADAPTER

    #: ``"package.module:function"`` of a :class:`midigpt_core.contracts.AdapterMerge`; None: it adapts nothing.
    merge: str | None = field(default=None, validator=_check_target)


#: The class of the records of each kind.
RECORDS: Mapping[Kind, type[ComponentSpec]] = {
    record.kind: record
    for record in (
        SourceSpec,
        EncoderSpec,
        MaskSpec,
        ArchitectureSpec,
        OptimizerSpec,
        LoggerSpec,
        CheckpointFormatSpec,
        MetricSpec,
        AttributeSpec,
        AdapterSpec,
    )
}


@frozen(kw_only=True)
class ComponentRef:
    """A resolved component choice with its options: picklable, and all that a worker needs to build the component.

    ``options`` are plain values (from a configuration), structured into the options class where the component is built.
    """

    kind: Kind = field(converter=Kind)
    name: str
    target: str
    options_class: str | None = None
    options: Mapping[str, Any] = field(factory=dict)
    #: Where it came from, for messages and provenance.
    plugin: str = ""
    distribution: str = ""
    version: str = ""
    #: Folders of ``--plugins-dir`` plugins that must be importable where this is resolved.
    import_paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        origin = f" of {self.distribution} {self.version}".rstrip() if self.distribution else ""
        return f"{self.kind.words} {self.name!r}{origin}"
