"""Builds the ``midigpt`` encoder from its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen, validators

from midigpt_core.errors import ConfigError
from midigpt_core.paths import usable_path
from midigpt_core.plugins.attributes import find_attribute
from midigpt_core.records import PLACEHOLDER
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.data_files import preset_names
from midigpt_encoder.encoder import MidigptEncoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.contracts import EncoderContext, PluginAttribute


@frozen(kw_only=True)
class EncoderOptions:
    """Options of the ``midigpt`` encoder."""

    #: A preset's name, the path of a JSON file, or the configuration itself.
    config: str | dict[str, Any] = "yellow"
    #: Positions of the tokens of fill blocks if the configuration does not set them.
    infill_positions: Literal["sequence", "placeholder"] | None = None
    #: Attribute controls of plugins, as PLUGIN/NAME or NAME, besides those of the configuration.
    attributes: tuple[str, ...] = ()
    #: Native threads of one batch.
    threads: int = field(default=1, validator=[validators.ge(1), validators.le(256)])


def build(options: EncoderOptions, context: EncoderContext) -> MidigptEncoder:
    """Build the encoder for ``options``. Raises ConfigError naming preset, file and field."""
    config = _read(options.config, context.plugin_attributes)
    if options.attributes and context.plugin_attributes is None:
        config = config.with_attributes([*config.attributes, *map(find_attribute, options.attributes)])
    if options.infill_positions == PLACEHOLDER and config.infill_positions is None:
        config = config.with_placeholder_positions()
    return MidigptEncoder(config, options.threads)


def _read(config: str | dict[str, Any], found: Sequence[PluginAttribute] | None) -> EncoderConfig:
    if not isinstance(config, str):
        return EncoderConfig.from_mapping(config, found=found)
    if config in preset_names():
        return EncoderConfig.from_preset(config, found)
    path = usable_path(config, what="encoder configuration", error=ConfigError)
    if path.suffix != ".json" and not path.exists():
        raise ConfigError(
            f"encoder configuration {config!r} is neither a preset nor a file. "
            f"Presets: {', '.join(preset_names())}. Give one of them, or the path of a file."
        )
    return EncoderConfig.from_file(path, found)
