"""Bundles as NumPy archives: the header as JSON, and one array per tensor."""

import json
import zipfile

import attrs
import numpy as np
import torch

from midigpt_core.contracts import Bundle, BundleHeader
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer

HEADER = "header.json"
FIELDS = ("architecture", "architecture_config", "encoder", "encoder_config", "provenance")


@attrs.frozen
class Options:
    pass


class Format:
    def matches(self, path):
        return path.suffix == ".arrays"

    def read_header(self, path):
        with self._open(path) as archive:
            return BundleHeader(**self._header(archive))

    def save(self, bundle, path):
        header = json.dumps({field: getattr(bundle, field) for field in FIELDS})
        with atomic_writer(path) as stream, zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(HEADER, header)
            for name, tensor in bundle.state_dict.items():
                with archive.open(f"{name}.npy", "w") as entry:
                    np.save(entry, tensor.numpy(), allow_pickle=False)

    def load(self, path, device="cpu", dtype=None):
        with self._open(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            arrays = {name: np.load(archive.open(f"{name}.npy"), allow_pickle=False) for name in names}
            tensors = {name: torch.from_numpy(array).to(device, dtype) for name, array in arrays.items()}
            return Bundle(**self._header(archive), state_dict=tensors)

    def _open(self, path):
        """Every file is treated as hostile: what cannot be read is told by name."""
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise CheckpointError(f"{path}: is not a bundle ({error}). Choose another file.") from error
        if archive.testzip() is not None:
            raise CheckpointError(f"{path}: is damaged. Choose another file.")
        return archive

    def _header(self, archive):
        try:
            header = json.loads(archive.read(HEADER))
            return {field: header[field] for field in FIELDS}
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{archive.filename}: has no usable header. Choose another file.") from error


def build(options, context):
    return Format()
