"""Format 1: ``model.pt``, a dict written by ``torch.save``.

``{"format_version": 1, "arch": "gpt2", "config": {…}, "encoder_config": {…}, "state_dict": {…}}`` and the data that
only midigpt-core reads. Reading runs nothing (:mod:`midigpt_core.checkpoint.torch_archive`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

from midigpt_bundles import fields
from midigpt_bundles.pt_header import FORMAT_VERSION, PtHeaders, described
from midigpt_core.checkpoint.archive_tensors import TensorReader
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.checkpoint.plain import plain_mapping
from midigpt_core.checkpoint.torch_archive import open_archive
from midigpt_core.files import atomic_writer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from midigpt_core.contracts import Bundle, FormatContext


class PtFormat(PtHeaders):
    """Satisfies :class:`midigpt_core.contracts.CheckpointFormat`."""

    def load(self, path: Path, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Bundle:
        with open_archive(path) as archive:
            header, stored = described(archive)
            reader = TensorReader(archive)
            state = fields.state_dict(
                path,
                header,
                stored,
                tensor=lambda name: reader.tensor(stored[name]),
                device=device,
                dtype=dtype,
            )
        return with_weights(header, state)

    def save(self, bundle: Bundle, path: Path) -> None:
        said = {
            "format_version": FORMAT_VERSION,
            "arch": bundle.architecture,
            **fields.fields_of(bundle, path),
        }
        content = {**plain_mapping(path, "the bundle", said), "state_dict": _own_copies(bundle.state_dict)}
        with atomic_writer(path) as stream:
            try:
                torch.save(content, stream)
            except RuntimeError as error:
                # torch's zip writer fails again when it closes, which hides why the stream failed, such as a full disk.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise


def build(_options: None, _context: FormatContext) -> PtFormat:
    return PtFormat()


def _own_copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU by name, each with a storage of its own, so that equal weights give equal bytes.

    Saving a view would also write the tensor that it is a view of.
    """
    copies: dict[str, Tensor] = {}
    seen = set()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.nbytes() != tensor.nbytes or storage.data_ptr() in seen:
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        copies[sys.intern(name)] = tensor
    return copies
