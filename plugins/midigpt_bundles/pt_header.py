"""The header of format 1 (:mod:`midigpt_bundles.pt`), read without torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from attrs import evolve

from midigpt_bundles import fields
from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD, is_old_buffer
from midigpt_core.checkpoint.torch_archive import StoredTensor, TorchArchive, check_apart, open_archive
from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from midigpt_core.contracts import BundleHeader, FormatContext

FORMAT_VERSION = 1


class PtHeaders:
    """Satisfies :class:`midigpt_core.contracts.HeaderReader`."""

    def matches(self, path: Path) -> bool:
        with open_regular(path) as stream:
            magic = stream.read(4)
        # A damaged or foreign file that is called .pt deserves the reader's message, not "unknown format".
        return magic == b"PK\x03\x04" or path.suffix in (".pt", ".pth")

    def read_header(self, path: Path) -> BundleHeader:
        with open_archive(path) as archive:
            return described(archive)[0]


def build(_options: None, _context: FormatContext) -> PtHeaders:
    return PtHeaders()


def described(archive: TorchArchive) -> tuple[BundleHeader, Mapping[str, StoredTensor]]:
    """The header and the description of the tensors, checked. No tensor is read."""
    path = archive.path
    if archive.is_torchscript:
        raise CheckpointError(
            f"{path}: a TorchScript program, not a bundle. If its folder has a config.json, give that folder instead."
        )
    content = archive.describe()
    if not isinstance(content, dict) or "state_dict" not in content:
        raise CheckpointError(
            f"{path}: not a bundle: there is no state_dict in it. Choose the model_final.pt or model-step*.pt of a run."
        )
    if "pytorch-lightning_version" in content:
        raise CheckpointError(
            f"{path}: the state of a run, to resume it from, not a bundle. Choose the run's model_final.pt, or a "
            "model-step*.pt in the same folder."
        )
    version = content.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {spell(version)}, this reader knows {FORMAT_VERSION}. "
            "Update midigpt-core, or convert the file with the version that wrote it."
        )
    header = fields.header_of(
        path,
        arch=content.get("arch"),
        config=content.get("config"),
        encoder_config=content.get("encoder_config"),
        ours=content.get(fields.OURS),
    )
    stored = _stored_tensors(path, content["state_dict"])
    fields.check_shapes(path, header, {name: tensor.shape for name, tensor in stored.items()})
    is_gpt2 = header.architecture == fields.GPT2
    weights = {name: tensor for name, tensor in stored.items() if not (is_gpt2 and is_old_buffer(name))}
    check_apart(path, weights, (EMBEDDING, HEAD) if is_gpt2 else ())
    return evolve(header, stored_numbers=sum(prod(tensor.shape) for tensor in stored.values())), stored


def _stored_tensors(path: Path, value: Any) -> Mapping[str, StoredTensor]:
    if not isinstance(value, dict):
        raise CheckpointError(
            f"{path}: state_dict is a {type(value).__name__}, expected a mapping. Choose another file."
        )
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, StoredTensor):
            raise CheckpointError(f"{path}: state_dict entry {str(name)[:80]!r} is not a tensor. Choose another file.")
    return value
