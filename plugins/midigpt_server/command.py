"""``midigpt serve``, and ``midigpt-http`` with the options of the public package midigpt 0.4.2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from midigpt_core.cli.echo import echo_line
from midigpt_core.cli.main import run
from midigpt_core.cli.options import BUNDLE, NAME, PATH, common_options, fetched
from midigpt_core.errors import ConfigError
from midigpt_core.terminal import logger
from midigpt_server.ranges import DEVICES, LOG_LEVELS, MOST_AT_ONCE, PARALLEL, PORT, QUEUE, SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_server.settings import ServerSettings

_log = logger(__name__)
#: Options of one model, which the entries of a file have of their own.
_OF_ENTRIES = ("hf_repo", "device", "max_parallel")


def _server_options(*, host: str, port: int) -> Callable[[Any], Any]:
    """The options that both commands have."""
    options = (
        click.option("--config", type=PATH, metavar="FILE", help="YAML file with models, in place of one bundle."),
        click.option("--adapter", "adapters", type=NAME, multiple=True, metavar="[NAME=]FILE",
                     help="Also offer the model with this adapter, as the model NAME; can be repeated."),
        click.option("--pretrained", type=NAME, metavar="NAME", help="Model of the Hub repository --hf-repo."),
        click.option("--hf-repo", type=NAME, metavar="REPO", help="Hub repository.  [default: Metacreation/MIDI-GPT]"),
        click.option(
            "--device", type=click.Choice(DEVICES), default="cpu", show_default=True,
            help="Where the model runs.",
        ),
        click.option("--host", type=NAME, default=host, show_default=True, help="Address to listen on."),
        click.option(
            "--port", type=PORT, default=port, show_default=True,
            help="Port to listen on; 0: any that is free.",
        ),
        click.option(
            "--osc", type=PORT, metavar="PORT",
            help="Also play along over OSC, on this UDP port (7400 in midigpt 0.4.2).",
        ),
        click.option(
            "--idle-timeout", type=SECONDS, default=0.0, metavar="S",
            help="Stop after so many seconds without a request; 0: never.",
        ),
        click.option(
            "--max-parallel", type=PARALLEL, default=MOST_AT_ONCE, show_default=True,
            help="Generations at once, in one batch; each has the music that it has alone.",
        ),
        click.option(
            "--max-queue", type=QUEUE, default=64, show_default=True,
            help="Requests that wait or run; more are answered with 503.",
        ),
        click.option(
            "--max-generation-seconds", type=SECONDS, default=0.0, metavar="S",
            help="Cancel a generation that takes longer; 0: none.",
        ),
        click.option(
            "--log-level", type=click.Choice(LOG_LEVELS, case_sensitive=False), default="INFO", show_default=True,
            help="Least level of messages.",
        ),
        click.option("--allow-origin", "origins", type=NAME, multiple=True, metavar="URL",
                     help="Let web pages of this origin call the server."),
        click.option("--allow-host", "hosts", type=NAME, multiple=True, metavar="NAME",
                     help="Answer under this name too."),
    )  # fmt: skip

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


@common_options
@click.command()
@click.option("--checkpoint", "--ckpt", "checkpoint", type=BUNDLE, metavar="BUNDLE", help="Bundle of the model.")
@_server_options(host="127.0.0.1", port=3456)
@click.pass_context
def serve(ctx: click.Context, /, **options: Any) -> None:
    """Answer music programs over HTTP: REAPER's midigpt scripts, or your own."""
    _serve(ctx, options)


@common_options
@click.command()
@click.option("--ckpt", "--checkpoint", "checkpoint", type=BUNDLE, metavar="BUNDLE", help="Bundle of the model.")
@_server_options(host="0.0.0.0", port=8000)
@click.pass_context
def http(ctx: click.Context, /, **options: Any) -> None:
    """Answer music programs over HTTP, with the options and the address of midigpt 0.4.2: 0.0.0.0, port 8000."""
    _serve(ctx, options)


def main() -> int:
    """The program ``midigpt-http``."""
    return run(http, "midigpt-http")


def _serve(ctx: click.Context, options: dict[str, Any]) -> None:
    given = [name for name in ("config", "checkpoint", "pretrained") if options[name] is not None]
    if len(given) != 1:
        raise click.UsageError(
            f"Give exactly one of --checkpoint, --pretrained and --config; {len(given) or 'none'} "
            f"{'is' if len(given) < 2 else 'are'} given."
        )
    if options["config"] is not None and options["adapters"]:
        raise click.UsageError("--adapter goes with one bundle. With --config, set adapters of a model in the file.")
    try:
        import fastapi  # noqa: F401
        import pythonosc  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the server needs {error.name}, which is not installed. Run: pip install 'midigpt-core[server]'"
        ) from error
    # Imports torch, which takes seconds; wrong options are reported before.
    from midigpt_server.process import serve_forever
    from midigpt_server.settings import from_file

    settings = _settings(options)
    if options["config"] is not None:
        of_flags, settings = settings, from_file(options["config"], settings)
        _warn_of_ineffective(ctx, options, of_flags, settings)
    serve_forever(settings, lambda text: echo_line(text, err=True))


def _warn_of_ineffective(
    ctx: click.Context, options: dict[str, Any], of_flags: ServerSettings, settings: ServerSettings
) -> None:
    """Name the options that were given and that the file replaces."""
    for name in ("host", "port", "idle_timeout", "log_level", "max_queue", "max_generation_seconds", *_OF_ENTRIES):
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        option = f"--{name.replace('_', '-')}"
        if name in _OF_ENTRIES:
            _log.warning("%s has no effect with --config. Set %s in %s.", option, name, options["config"])
        elif getattr(of_flags, name) != getattr(settings, name):
            _log.warning("%s has no effect: %s in %s replaces it.", option, name, options["config"])


def _settings(options: dict[str, Any]) -> ServerSettings:
    from midigpt_server.settings import ModelSettings, ServerSettings, adapters_of, host_of, origin_of

    models = []
    if options["config"] is None:
        own = {} if options["hf_repo"] is None else {"hf_repo": options["hf_repo"]}
        name = options["pretrained"] or Path(options["checkpoint"]).stem
        models = [
            ModelSettings(
                id=name,
                checkpoint=None if options["checkpoint"] is None else fetched(options["checkpoint"]),
                pretrained=options["pretrained"],
                device=options["device"],
                max_parallel=options["max_parallel"],
                adapters=adapters_of(options["adapters"], name),
                **own,
            )
        ]
    return ServerSettings(
        models=models,
        host=options["host"],
        port=options["port"],
        osc_port=options["osc"],
        idle_timeout=options["idle_timeout"],
        max_queue=options["max_queue"],
        max_generation_seconds=options["max_generation_seconds"],
        log_level=options["log_level"].upper(),
        allowed_origins=[origin_of(text) for text in options["origins"]],
        allowed_hosts=[host_of(text) for text in options["hosts"]],
    )


if __name__ == "__main__":
    sys.exit(main())
