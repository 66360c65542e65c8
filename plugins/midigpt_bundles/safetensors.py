"""Format 2: ``model.safetensors``.

A safetensors file (:mod:`midigpt_core.checkpoint.safetensors_entries`) whose ``__metadata__`` has ``format_version``,
``arch``, ``config`` and ``encoder_config`` (both JSON), and what only midigpt-core reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_bundles import fields
from midigpt_bundles.safetensors_header import FORMAT_VERSION, SafetensorsHeaders, described
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.safetensors_data import compact, read_tensor, write
from midigpt_core.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from midigpt_core.contracts import Bundle, FormatContext


class SafetensorsFormat(SafetensorsHeaders):
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        with open_regular(path) as stream:
            header, entries = described(path, stream)
            state = fields.state_dict(
                path,
                header,
                entries,
                tensor=lambda name: read_tensor(path, stream, entries[name]),
                device=device,
                dtype=dtype,
            )
        return with_weights(header, state)

    def save(self, bundle: Bundle, path: Path) -> None:
        metadata = {key: compact(value) for key, value in fields.fields_of(bundle, path).items()}
        metadata |= {"format_version": FORMAT_VERSION, "arch": bundle.architecture}
        write(bundle.state_dict, metadata, path)


def build(_options: None, _context: FormatContext) -> SafetensorsFormat:
    return SafetensorsFormat()
