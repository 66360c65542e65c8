"""Weights & Biases."""

from __future__ import annotations

import netrc
import os
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from lightning.pytorch.loggers import WandbLogger

from midigpt_core.errors import PluginError
from midigpt_loggers.requirements import require, require_utf8

require("wandb", "wandb")

import wandb  # noqa: E402 (an extra: the line above raises if it is missing)

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.contracts import LoggerContext
    from midigpt_loggers.options import WandbOptions

_CONNECT_SECONDS = 3.0


class _Wandb(WandbLogger):
    """Ends the W&B run with the training run, so that one process can train twice; takes samples."""

    @property
    def experiment(self) -> Any:
        """The W&B run, started on first access. Raises :class:`PluginError` if the server rejects it."""
        try:
            return super().experiment
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise PluginError(
                f"logger 'wandb' cannot start its run ({reason}). Check the key, the network and the logger's options,"
                " or choose mode offline; 'wandb sync' uploads later."
            ) from error

    def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
        """Log the picture as an image and save the MIDI file among the run's files."""
        self.log_image(f"samples/{name}", [str(piano_roll)], step=step)
        self.experiment.save(str(midi), base_path=str(midi.parents[2]), policy="now")

    def log_sample_audio(self, name: str, audio: Path, step: int) -> None:
        """Log the file as W&B's audio."""
        self.log_audio(f"samples/{name}/audio", [str(audio)], step=step)

    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def build(options: WandbOptions, context: LoggerContext) -> WandbLogger:
    """Build a logger that writes to ``<run folder>/wandb`` and, online, to the server. A resumed run continues its W&B
    run.

    Raises :class:`PluginError` if mode is online and there is no key.
    """
    require_utf8(context.run_dir, "wandb")
    return _Wandb(
        id=_run_id(context),
        name=context.run_name,
        save_dir=context.run_dir,
        project=options.project,
        entity=options.entity,
        group=options.group,
        tags=list(options.tags),
        notes=options.notes,
        mode=_resolve_mode(options.mode),
    )


def _run_id(context: LoggerContext) -> str | None:
    """The id of the W&B run to continue; None: a new one."""
    if not context.continues:
        return None
    # W&B names its folders <kind>-<time>-<id>.
    runs = sorted((context.run_dir / "wandb").glob("*run-*-*"), key=lambda run: run.name.split("-")[-2])
    return runs[-1].name.rpartition("-")[2] if runs else None


def _resolve_mode(mode: str) -> str:
    """The mode to use for ``mode``, after W&B's own settings (``WANDB_MODE``, ``WANDB_BASE_URL``, the stored key)."""
    settings = wandb.setup().settings
    # A mode that the user chose is kept even if the server cannot be reached from here.
    asked = os.environ.get("WANDB_MODE", "") if mode == "auto" else mode
    if asked not in ("", "online"):
        return asked
    if not asked and settings.mode != "online":
        return str(settings.mode)
    url = urlsplit(str(settings.base_url))
    # A key that W&B takes for none, as one too short, is its own to refuse.
    has_key = bool(settings.api_key or os.environ.get("WANDB_API_KEY")) or _is_in_netrc(url.hostname or "")
    if asked and not has_key:
        raise PluginError(
            "logger 'wandb' has no key, but mode is online. Run 'wandb login', set WANDB_API_KEY, or choose offline."
        )
    return "online" if asked or (has_key and _is_reachable(url)) else "offline"


def _is_in_netrc(host: str) -> bool:
    try:
        return netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _is_reachable(url: SplitResult) -> bool:
    """Whether the server, or the proxy in front of it, accepts a connection."""
    host = url.hostname or ""
    proxy = getproxies().get(url.scheme)
    if proxy and not proxy_bypass(host):
        url = urlsplit(proxy if "//" in proxy else f"//{proxy}", scheme="http")
    try:
        port = url.port or (443 if url.scheme == "https" else 80)
        with socket.create_connection((url.hostname or "", port), timeout=_CONNECT_SECONDS):
            return True
    except (OSError, ValueError):  # a port that is not a number
        return False
