"""The encoder of a command that encodes or decodes: the flags that choose it, and building it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from midigpt_core.cli.options import BUNDLE, PATH, fetched
from midigpt_core.cli.selected import registry
from midigpt_core.cli.train import configure
from midigpt_core.contracts import EncoderContext
from midigpt_core.errors import ConfigError
from midigpt_core.plugins.building import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.contracts import Encoder

    Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_PRESET = "yellow"


def encoder_options(function: Function) -> Function:
    """``--encoder-config`` and ``--checkpoint``."""
    for option in (
        click.option("--checkpoint", type=BUNDLE, metavar="BUNDLE", help="Take the encoder from this bundle."),
        click.option(
            "--encoder-config",
            type=PATH,
            metavar="JSON|PRESET",
            help=f"Encoder configuration file, or the name of a preset.  [default: {DEFAULT_PRESET}]",
        ),
    ):
        function = option(function)
    return function


def chosen_encoder(ctx: click.Context, encoder_config: str | None, checkpoint: str | None) -> Encoder:
    """The encoder that the flags name. Raises ConfigError if both are given."""
    if checkpoint is not None and encoder_config is not None:
        raise ConfigError("--checkpoint and --encoder-config both name an encoder. Keep one of them.")
    from midigpt_core.checkpoint import encoder_ref, read_header
    from midigpt_core.inference.guarded import guarded

    plugins = registry(ctx)
    if checkpoint is not None:
        ref = encoder_ref(read_header(fetched(checkpoint)))
    else:
        config = configure(None, (), {"encoder_config_path": encoder_config or DEFAULT_PRESET}, plugins)
        ref = plugins.resolve("encoder", config.choice("encoder"))
    return guarded(build(ref, EncoderContext()), str(ref), "in this command")
