"""The header of format 2 (:mod:`midigpt_bundles.safetensors`), read without torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from attrs import evolve

from midigpt_bundles import fields
from midigpt_core.checkpoint.adapter_files import KEY
from midigpt_core.checkpoint.plain import parse_json
from midigpt_core.checkpoint.safetensors_entries import Entry, read_entries
from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

    from midigpt_core.contracts import BundleHeader, FormatContext

FORMAT_VERSION = "2"


class SafetensorsHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        with open_regular(path) as stream:
            return stream.read(9)[8:] == b"{" or path.suffix == ".safetensors"

    def read_header(self, path: Path) -> BundleHeader:
        with open_regular(path) as stream:
            return described(path, stream)[0]


def build(_options: None, _context: FormatContext) -> SafetensorsHeaders:
    return SafetensorsHeaders()


def described(path: Path, stream: BufferedReader) -> tuple[BundleHeader, dict[str, Entry]]:
    """The header and the tensors that the file describes, checked, none of them read."""
    metadata, entries = read_entries(path, stream)
    if KEY in metadata:
        raise CheckpointError(
            f"{path}: is an adapter, not a bundle. Put it into its base: midigpt adapters apply {path.name} "
            "--base BUNDLE -o OUT."
        )
    version = metadata.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {spell(version)}, this reader knows {FORMAT_VERSION!r}. "
            "Update midigpt-core, or convert the file with the version that wrote it."
        )
    parsed = {
        key: parse_json(path, key, metadata[key])
        for key in ("config", "encoder_config", fields.OURS)
        if key in metadata
    }
    header = fields.header_of(
        path,
        arch=metadata.get("arch"),
        config=parsed.get("config"),
        encoder_config=parsed.get("encoder_config"),
        ours=parsed.get(fields.OURS),
    )
    fields.check_shapes(path, header, {name: entry.shape for name, entry in entries.items()})
    return evolve(header, stored_numbers=sum(prod(entry.shape) for entry in entries.values())), entries
