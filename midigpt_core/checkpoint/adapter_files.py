"""Files of adapters, ``adapter.safetensors``: a few weights, what they were trained on, and how they are used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.checkpoint.plain import parse_json, plain_mapping
from midigpt_core.checkpoint.safetensors_entries import read_entries
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

    from midigpt_core.checkpoint.safetensors_entries import Entry

#: The file in a run's folder.
NAME = "adapter.safetensors"
SUFFIX = ".safetensors"
#: The key of the metadata that makes a safetensors file an adapter.
KEY = "midigpt_adapter"
_VERSION = 1
_FIELDS = {"version": int, "adapter": str, "options": dict, "base": dict, "provenance": dict}
#: What an adapter records of its base: the name for people, the rest is compared, in this order.
BASE_FIELDS = ("architecture", "architecture_config", "encoder", "encoder_config", "weights")
_NEXT = "Choose a file that a run with an adapter wrote (adapter.safetensors)."


@frozen(kw_only=True)
class AdapterHeader:
    """What an adapter is. Text comes from the file: show it through ``printable``."""

    #: Component name, e.g. ``"lora"``, or ``"plugin/name"`` for one that does not come with midigpt-core.
    adapter: str
    #: All options of the component.
    options: Mapping[str, Any]
    #: The model that it was trained on: ``name``, and :data:`BASE_FIELDS`; ``weights`` is a hash
    #: (:func:`midigpt_core.checkpoint.adapters.weights_hash`).
    base: Mapping[str, Any]
    #: As in a bundle.
    provenance: Mapping[str, Any] = attrs.field(factory=dict)

    def metadata(self) -> str:
        """The header as JSON."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(AdapterHeader)}
        return json.dumps({"version": _VERSION, **fields}, separators=(",", ":"), ensure_ascii=False)


def read_adapter_header(path: str | os.PathLike[str]) -> AdapterHeader:
    """The header of the adapter at ``path``; reads no tensor. Raises
    :class:`midigpt_core.errors.CheckpointError`."""
    source = adapter_path(path)
    with opened(source) as stream:
        return described(source, stream)[0]


def adapter_path(path: str | os.PathLike[str]) -> Path:
    """The file that ``path`` means: itself, or in a run's folder its ``adapter.safetensors``."""
    source = usable_path(path, what="adapter", error=CheckpointError)
    return source / NAME if source.is_dir() else source


def opened(path: Path) -> BufferedReader:
    try:
        return open_regular(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}). Check the path.") from error


def described(path: Path, stream: BufferedReader) -> tuple[AdapterHeader, dict[str, Entry]]:
    """The header and the tensors' places, checked against the file."""
    metadata, entries = read_entries(path, stream)
    if KEY not in metadata:
        raise CheckpointError(f"{path}: is not an adapter. {_NEXT}")
    values = plain_mapping(path, KEY, parse_json(path, KEY, metadata[KEY]))
    for name, kind in _FIELDS.items():
        if type(values.get(name)) is not kind:
            raise CheckpointError(f"{path}: {KEY}.{name} is not a {kind.__name__}. {_NEXT}")
    if values.pop("version") != _VERSION:
        raise CheckpointError(f"{path}: an adapter of a later version of midigpt-core. Update midigpt-core.")
    unknown = next((name for name in values if name not in _FIELDS), None)
    if unknown is not None:
        raise CheckpointError(f"{path}: {KEY} has a field {unknown[:40]!r} that no adapter has. {_NEXT}")
    if lacking := next((name for name in BASE_FIELDS if name not in values["base"]), None):
        raise CheckpointError(f"{path}: {KEY}.base has no {lacking!r}. {_NEXT}")
    return AdapterHeader(**values), entries
