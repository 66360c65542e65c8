"""What this plugin provides; imports nothing heavy."""

from __future__ import annotations

from midigpt_core import hookimpl
from midigpt_core.components import CheckpointFormatSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_checkpoint_formats() -> list[CheckpointFormatSpec]:
    return [
        CheckpointFormatSpec(
            name="legacy-directory",
            summary="config.json and a TorchScript model.pt, read without running it (runs it only with allow_unsafe)",
            target="midigpt_legacy.directory:build",
            headers="midigpt_legacy.header:build",
            is_dir=True,
            can_save=False,
        )
    ]
