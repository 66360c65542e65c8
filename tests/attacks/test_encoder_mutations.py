"""One field of a bundle's encoder changed, the vocabulary's size the same: refused, with the field named.

Such a bundle would load, sample, and play other music than it was trained on.
"""

from __future__ import annotations

import copy
import json
import struct
from typing import TYPE_CHECKING, Any

import pytest
import torch
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.factory import EncoderOptions
from midigpt_encoder.factory import build as build_encoder

from midigpt_core.checkpoint import load_checkpoint, read_header, save_bundle
from midigpt_core.contracts import Bundle, EncoderContext
from midigpt_core.errors import CheckpointError, MidigptError
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONFIG = EncoderConfig.from_preset("expressive").to_dict()
SIZE = 964


def changed(value: Any) -> list[Any]:
    """Other values of one leaf."""
    match value:
        case bool():
            return [not value]
        case int():
            return [value + 1, value * 2 + 2]
        case str():
            return [value + "x"]
    return []


def single_changes(value: Any) -> Iterator[Any]:
    """Copies of a configuration value with one leaf changed, or two neighbours of a list swapped."""
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            for other in single_changes(value[key]):
                mutated = copy.copy(value)
                mutated[key] = other
                yield mutated
    if isinstance(value, list):
        for index in range(len(value) - 1):
            if value[index] != value[index + 1]:
                yield [*value[:index], value[index + 1], value[index], *value[index + 2 :]]
    if not isinstance(value, (dict, list)):
        yield from changed(value)


def of_equal_size(config: dict[str, Any]) -> bool:
    try:
        return build_encoder(EncoderOptions(config=config), EncoderContext()).vocab_size == SIZE
    except MidigptError:
        return False


def mutations() -> list[tuple[str, dict[str, Any]]]:
    """At most eight per field, spread over it, so that every field has its turn."""
    found = []
    for name, value in CONFIG.items():
        candidates = list(single_changes(value))
        spread = candidates[:: max(1, len(candidates) // 16)]
        fitting = [other for other in spread if of_equal_size({**CONFIG, name: other})]
        found += [(name, {**CONFIG, name: other}) for other in fitting[:8]]
    return found


MUTATIONS = mutations()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    model = tiny_gpt2(SIZE, 8, n_embd=4, n_layer=1, n_head=1)
    return Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=CONFIG,
        state_dict=model.state_dict(),
    )


def change_pt(path: Path, config: dict[str, Any]) -> None:
    torch.save({**torch.load(path, weights_only=True), "encoder_config": config}, path)


def change_safetensors(path: Path, config: dict[str, Any]) -> None:
    whole = path.read_bytes()
    (length,) = struct.unpack_from("<Q", whole)
    header = json.loads(whole[8 : 8 + length])
    header["__metadata__"]["encoder_config"] = json.dumps(config)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + length :])


def change_folder(path: Path, config: dict[str, Any]) -> None:
    (path / "encoder.json").write_text(json.dumps(config))


FORMATS: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "m.pt": change_pt,
    "m.safetensors": change_safetensors,
    "m": change_folder,
}


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 50
    assert len({name for name, _ in MUTATIONS}) >= 14


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_changed_encoder_is_refused_and_the_field_named(bundle: Bundle, tmp_path: Path, format_name: str) -> None:
    path = save_bundle(bundle, tmp_path / format_name)
    for name, config in MUTATIONS:
        FORMATS[format_name](path, config)
        for read in (read_header, load_checkpoint):
            with pytest.raises(CheckpointError) as caught:
                read(path)
            assert f"encoder_config.{name} differs from what was saved (encoder_sha256 does not fit)" in str(
                caught.value
            )
    FORMATS[format_name](path, CONFIG)
    assert load_checkpoint(path).encoder_config == CONFIG


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_added_or_removed_field_is_named(bundle: Bundle, tmp_path: Path, format_name: str) -> None:
    path = save_bundle(bundle, tmp_path / format_name)
    FORMATS[format_name](path, {**CONFIG, "added": 1})
    with pytest.raises(CheckpointError, match=r"encoder_config\.added differs"):
        load_checkpoint(path)
    FORMATS[format_name](path, {name: value for name, value in CONFIG.items() if name != "velocity_sticky"})
    with pytest.raises(CheckpointError, match=r"encoder_config\.velocity_sticky differs"):
        load_checkpoint(path)


def test_a_damaged_fingerprint_is_refused_without_a_field(bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.pt")
    for fingerprint, fields in (("0" * 64, None), (None, {}), (3, ["x"]), ("0" * 64, {"resolution": [1]})):
        content = torch.load(path, weights_only=True)
        content["midigpt_core"] |= {"encoder_sha256": fingerprint, "encoder_fields_sha256": fields}
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"encoder_config.* differs from what was saved"):
            read_header(path)


def test_files_of_other_programs_have_no_fingerprint_and_load(bundle: Bundle, tmp_path: Path) -> None:
    path = save_bundle(bundle, tmp_path / "m.pt")
    content = torch.load(path, weights_only=True)
    del content["midigpt_core"]
    torch.save(content, path)
    assert load_checkpoint(path).encoder_config == CONFIG
