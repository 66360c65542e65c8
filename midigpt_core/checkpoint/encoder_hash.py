"""Fingerprints of an encoder's configuration: a bundle whose encoder was changed after it was saved is refused.

Two encoders can have the same number of tokens but different music for them, so the vocabulary size is a weak check.
The fingerprints guard against mixed-up and damaged files. They are not a signature: anyone who can write the file can
write them.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Keys next to the configuration in a bundle.
WHOLE = "encoder_sha256"
FIELDS = "encoder_fields_sha256"

_FIELD_DIGITS = 16


def encoder_sha256(config: Mapping[str, Any]) -> str:
    """sha256 of the configuration as JSON with sorted keys, hexadecimal."""
    return _sha256(config)


def fingerprints(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a bundle stores: the hash of the whole, and the first 16 digits of each field's, to name what changed."""
    return {WHOLE: _sha256(config), FIELDS: {name: _sha256(value)[:_FIELD_DIGITS] for name, value in config.items()}}


def check_fingerprints(path: Path, config: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
    """Check that ``config`` is what was saved; files of other programs have no fingerprints and are not checked.

    Raises :class:`midigpt_core.errors.CheckpointError` naming the fields that differ.
    """
    if WHOLE not in stored or stored[WHOLE] == _sha256(config):
        return
    then, now = mapping_or_empty(stored.get(FIELDS)), fingerprints(config)[FIELDS]
    changed = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    fields = ", ".join(f"encoder_config.{name[:80]}" for name in changed[:5]) or "encoder_config"
    raise CheckpointError(
        f"{path}: {fields} differs from what was saved ({WHOLE} does not fit), so its tokens would mean other music. "
        "Copy the bundle again from where it came, or choose another."
    )


def _sha256(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
