"""The licence of a bundle's weights, as far as the bundle or its model card states one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.checkpoint.provenance import data_sources
from midigpt_core.files import read_bytes
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_CARD = "README.md"
_MAX_CARD_BYTES = 1 << 16
_LONGEST = 60
#: The licence of the data of a source, which weights inherit.
_OF_SOURCES = {"gigamidi": "cc-by-nc-4.0"}
#: In huggingface_hub's cache, the folder of the folders that are copies of a repository.
_SNAPSHOTS = "snapshots"


def licence_of(path: str | os.PathLike[str], provenance: Mapping[str, Any]) -> str | None:
    """The licence of the bundle at ``path``, as one line; None if nothing states it.

    The first that states one: the front matter of the model card in a bundle's folder or in the copy of a repository;
    the bundle's data, of which GigaMIDI's licence is known; the licence of the bundle that it was trained from.
    """
    stated = _of_card(Path(path)) or next(
        (_OF_SOURCES[name] for name in data_sources(provenance) if name in _OF_SOURCES), None
    )
    inherited = mapping_or_empty(provenance.get("base")).get("licence")
    found = stated or (inherited if isinstance(inherited, str) else None)
    return printable(found, _LONGEST) if found else None


def _of_card(path: Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    if not (path.is_dir() or folder.parent.name == _SNAPSHOTS):
        return None
    try:
        text = read_bytes(folder / _CARD, _MAX_CARD_BYTES).decode("utf-8")
        # Text alone: nothing of a card is converted.
        head = yaml.load(text.split("---", 2)[1], yaml.BaseLoader) if text.startswith("---") else None
    except (OSError, ValueError, yaml.YAMLError, IndexError, RecursionError):  # no card that says it
        return None
    licence = mapping_or_empty(head).get("license")
    if isinstance(licence, list):
        licence = ", ".join(str(one) for one in licence)
    return licence if isinstance(licence, str) and licence else None
