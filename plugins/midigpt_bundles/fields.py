"""The fields that both formats share, from a file into a header and back.

``arch``, ``config`` and ``encoder_config`` are what midigpt 0.4.2 knows. What it does not (the encoder's component
name, its fingerprints and the provenance) is stored under one more key, which it ignores.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from midigpt_core import terminal
from midigpt_core.checkpoint.encoder_hash import check_fingerprints, fingerprints
from midigpt_core.checkpoint.gpt2_layout import EMBEDDING, HEAD, is_old_buffer
from midigpt_core.checkpoint.layouts import LAYOUTS
from midigpt_core.checkpoint.plain import parse_json, plain_mapping
from midigpt_core.config.wording import spell
from midigpt_core.contracts import BundleHeader
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

    from midigpt_core.contracts import Bundle

logger = terminal.logger(__name__)

#: The key of the data that only midigpt-core reads.
OURS = "midigpt_core"

#: The architecture of a file that names none.
GPT2 = "gpt2"
_ENCODER = "midigpt"
_COMPONENT_NAME = re.compile(r"([a-z0-9][a-z0-9_-]{0,79}/)?[a-z0-9][a-z0-9_-]{0,79}")
_NEXT = "The file is not a bundle that midigpt can read; choose another."


def header_of(path: Path, *, arch: object, config: object, encoder_config: object, ours: object) -> BundleHeader:
    """Checked fields of a file; raises :class:`midigpt_core.errors.CheckpointError` naming the first that is wrong."""
    architecture = _component_name(path, "arch", GPT2 if arch is None else arch)
    architecture_config = plain_mapping(path, "config", config)
    if architecture in LAYOUTS:
        architecture_config = LAYOUTS[architecture].whole_config(architecture_config, path)
    if isinstance(encoder_config, str):
        encoder_config = parse_json(path, "encoder_config", encoder_config)
    if encoder_config is None:
        raise CheckpointError(f"{path}: there is no encoder_config, so nothing can be tokenised for it. {_NEXT}")
    encoder_config = plain_mapping(path, "encoder_config", encoder_config)
    extra = {} if ours is None else plain_mapping(path, OURS, ours)
    check_fingerprints(path, encoder_config, extra)
    return BundleHeader(
        architecture=architecture,
        architecture_config=architecture_config,
        encoder=_component_name(path, f"{OURS}.encoder", extra.get("encoder", _ENCODER)),
        encoder_config=encoder_config,
        provenance=plain_mapping(path, f"{OURS}.provenance", extra.get("provenance", {})),
    )


def fields_of(bundle: Bundle, path: Path) -> dict[str, dict[str, Any]]:
    """``config``, ``encoder_config`` and :data:`OURS` of a bundle, as plain copies."""
    encoder_config = plain_mapping(path, "encoder_config", dict(bundle.encoder_config))
    ours = {"encoder": bundle.encoder, **fingerprints(encoder_config), "provenance": dict(bundle.provenance)}
    return {
        "config": plain_mapping(path, "config", dict(bundle.architecture_config)),
        "encoder_config": encoder_config,
        OURS: plain_mapping(path, OURS, ours),
    }


def check_shapes(path: Path, header: BundleHeader, found: Mapping[str, tuple[int, ...]]) -> None:
    """Compare tensors with the architecture, where its layout is part of the format."""
    if header.architecture in LAYOUTS:
        LAYOUTS[header.architecture].check_tensors(found, header.architecture_config, path)


def state_dict(
    path: Path,
    header: BundleHeader,
    names: Iterable[str],
    *,
    tensor: Callable[[str], Tensor],
    device: torch.device | str,
    dtype: torch.dtype | None,
) -> dict[str, Tensor]:
    """The weights under ``names``, with the differences of old GPT-2 files corrected, and a warning about them."""
    names = list(names)
    old = {name for name in names if header.architecture == GPT2 and is_old_buffer(name)}
    if old:
        logger.warning("%s: left out %d causal masks of an old transformers version", path, len(old))
    state = {}
    for name in names:
        if name in old:
            continue
        value = tensor(name)
        if value.is_floating_point():
            state[name] = value.to(device=device, dtype=dtype or value.dtype)
        else:
            state[name] = value.to(device)
    if header.architecture == GPT2 and HEAD not in state:
        logger.warning("%s: there is no %s, took the token embedding's weights for it", path, HEAD)
        state[HEAD] = state[EMBEDDING].clone()
    return state


def _component_name(path: Path, field: str, value: object) -> str:
    if not isinstance(value, str) or not _COMPONENT_NAME.fullmatch(value):
        raise CheckpointError(f"{path}: {field} is {spell(value)}, expected the name of a component. {_NEXT}")
    return value
