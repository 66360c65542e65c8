"""The tensors of a ``torch.save`` or TorchScript archive, read straight from the file once it is described."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from midigpt_core.checkpoint.torch_archive import StoredStorage, StoredTensor, TorchArchive


class TensorReader:
    """Reads each storage of an open archive at most once."""

    def __init__(self, archive: TorchArchive) -> None:
        self._archive = archive
        self._loaded: dict[StoredStorage, Tensor] = {}

    def tensor(self, stored: StoredTensor) -> Tensor:
        """The tensor on the CPU; tensors of one storage share memory, as they did when they were saved."""
        storage = stored.storage
        if storage not in self._loaded:
            content = torch.empty(storage.numel, dtype=getattr(torch, storage.dtype))
            self._archive.read_storage(storage, content.view(torch.uint8).numpy().data)
            self._loaded[storage] = content
        return torch.as_strided(self._loaded[storage], stored.shape, stored.stride, stored.offset)
