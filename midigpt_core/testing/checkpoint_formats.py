"""Checks for checkpoint formats, with a small bundle of the architecture ``gpt2`` and the encoder ``midigpt``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch

from midigpt_core.contracts import (
    ArchitectureContext,
    Bundle,
    CheckpointFormat,
    EncoderContext,
    FormatContext,
    HeaderReader,
)
from midigpt_core.errors import CheckpointError
from midigpt_core.plugins.building import build
from midigpt_core.testing.general import imported_by

if TYPE_CHECKING:
    from midigpt_core.testing.general import Subject


def check_a_bundle_comes_back_bit_by_bit(subject: Subject) -> None:
    if not _can_save(subject):
        return
    bundle = _bundle(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = _path(subject, folder)
        checkpoint_format = _build(subject)
        checkpoint_format.save(bundle, path)
        assert checkpoint_format.matches(path), "it does not recognise what it wrote"
        loaded = checkpoint_format.load(path)
    _assert_same_header(bundle, loaded)
    assert loaded.state_dict.keys() == bundle.state_dict.keys(), "tensors were lost or added"
    for name, tensor in bundle.state_dict.items():
        again = loaded.state_dict[name]
        assert again.dtype == tensor.dtype, f"{name} changed its type"
        assert torch.equal(again, tensor), f"{name} changed"


def check_the_header_alone_is_the_same(subject: Subject) -> None:
    if not _can_save(subject):
        return
    bundle = _bundle(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = _path(subject, folder)
        _build(subject).save(bundle, path)
        _assert_same_header(bundle, _build(subject).read_header(path))


def check_its_header_reader_agrees_and_needs_no_torch(subject: Subject) -> None:
    """If the record names a separate header reader (``headers``), it reads the same header without torch."""
    target = getattr(subject.spec, "headers", None)
    if target is None:
        return
    loaded = imported_by(target.partition(":")[0], ("torch",), subject.ref.import_paths)
    assert not loaded, f"{target} imports torch; import it in the format's own module instead"
    if not _can_save(subject):
        return
    bundle = _bundle(subject)
    with tempfile.TemporaryDirectory() as folder:
        path = _path(subject, folder)
        _build(subject).save(bundle, path)
        reader: HeaderReader = build(attrs.evolve(subject.ref, target=target), FormatContext())
        assert reader.matches(path), "the header reader does not recognise what the format wrote"
        _assert_same_header(bundle, reader.read_header(path))


def check_a_damaged_file_is_refused(subject: Subject) -> None:
    """A truncated file, or one of another format, raises a CheckpointError that names the file."""
    if not _can_save(subject) or getattr(subject.spec, "is_dir", False):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = _path(subject, folder)
        _build(subject).save(_bundle(subject), path)
        content = path.read_bytes()
        for damaged in (b"", b"not a bundle", *(content[: len(content) * part // 8] for part in range(1, 8))):
            path.write_bytes(damaged)
            _assert_refused(subject, path)


def _assert_refused(subject: Subject, path: Path) -> None:
    try:
        _build(subject).load(path)
    except CheckpointError as error:
        assert path.name in str(error), f"the error does not name the file: {error}"
    else:
        raise AssertionError(f"a damaged file of {path.stat().st_size} bytes was loaded")


def _assert_same_header(one: Any, other: Any) -> None:
    for field in ("architecture", "architecture_config", "encoder", "encoder_config", "provenance"):
        ours, theirs = getattr(one, field), getattr(other, field)
        assert ours == theirs, f"{field} was {ours!r} and came back as {theirs!r}"


def _can_save(subject: Subject) -> bool:
    return bool(getattr(subject.spec, "can_save", False))


def _build(subject: Subject) -> CheckpointFormat:
    built: CheckpointFormat = subject.build(FormatContext())
    return built


def _path(subject: Subject, folder: str) -> Path:
    suffixes: tuple[str, ...] = getattr(subject.spec, "suffixes", ())
    return Path(folder) / f"model{suffixes[0] if suffixes else ''}"


def _bundle(subject: Subject) -> Bundle:
    encoder = build(subject.registry.resolve("encoder", "midigpt"), EncoderContext())
    sizes = {"n_embd": 8, "n_layer": 1, "n_head": 2}
    context = ArchitectureContext(vocab_size=encoder.vocab_size, max_seq_len=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = build(subject.registry.resolve("architecture", {"name": "gpt2", **sizes}), context)
    return Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
        provenance={"steps": 3, "metrics": {"eval_loss": 1.5}, "plugins": ["acme"]},
        state_dict=model.state_dict(),
    )
