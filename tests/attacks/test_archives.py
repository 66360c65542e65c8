"""Zip archives that lie: about their list of entries, about where entries are, about whose numbers are whose."""

from __future__ import annotations

import io
import json
import pickle
import re
import resource
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import inspect, load_checkpoint, read_header
from midigpt_core.checkpoint.torch_archive import StoredStorage, StoredTensor, check_apart
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny_registry")

HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"


@pytest.fixture
def sound(content: dict[str, Any], tmp_path: Path) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def refused(path: Path) -> str:
    """The message; no reader of the file takes more than 32 MiB."""
    tracemalloc.start()
    try:
        for read in (read_header, load_checkpoint, inspect):
            with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
                read(path)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000
    return str(caught.value)


def changed(whole: bytes, place: int, form: str, *values: int) -> bytes:
    """``whole`` with numbers at ``place`` of its first entry in the list of entries."""
    edited = bytearray(whole)
    struct.pack_into(form, edited, edited.index(b"PK\x01\x02") + place, *values)
    return bytes(edited)


def with_locator(whole: bytes) -> bytes:
    """A zip64 record that claims 100 bytes at a place of its own, while the one before the locator claims 5 MiB."""
    end = whole.rindex(b"PK\x05\x06")
    record = struct.Struct("<4sQ2H2L4Q")
    small = record.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 100, 0)
    large = record.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 5 << 20, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return whole[:end] + small + large + locator + whole[end:]


LIES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "version 9.9": ("zip file version 9.9", lambda whole: changed(whole, 6, "<H", 99)),
    "name that is no UTF-8": (
        "codec can't decode",
        lambda whole: changed(changed(whole, 8, "<H", 0x800), 46, "<B", 0xFF),
    ),
    "encrypted": ("is encrypted", lambda whole: changed(whole, 8, "<H", 1)),
    "patch": ("is encrypted, or a patch", lambda whole: changed(whole, 8, "<H", 0x20)),
    "method of nobody": ("compressed by method 98", lambda whole: changed(whole, 10, "<H", 98)),
    "two sizes": ("has two sizes", lambda whole: changed(whole, 24, "<L", 1 << 20)),
    "entry outside": ("damaged", lambda whole: changed(whole, 42, "<L", 1 << 30)),
    "list elsewhere": ("list of entries is not at its end", lambda whole: whole[:-22] + b" " * 9 + whole[-22:]),
    "comment": ("no end record at its end", lambda whole: whole[:-2] + b"\x01\x00 "),
    "zip64 record elsewhere": ("not where its locator says", with_locator),
    "nothing but an end": ("no end record at its end", lambda whole: whole[-21:]),
    "empty": ("no end record at its end", lambda _: b""),
}


@pytest.mark.parametrize(("message", "lie"), LIES.values(), ids=LIES)
def test_an_archive_that_lies_is_refused(
    message: str, lie: Callable[[bytes], bytes], sound: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(lie(sound))
    assert message in refused(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("bomb", ["data.pkl", "byteorder", "code/a.py"])
def test_compressions_that_become_gigabytes_at_once_are_refused(method: int, bomb: str, tmp_path: Path) -> None:
    """``zipfile`` limits what one read gives only for deflate."""
    (tmp_path / "config.json").write_text("{}")
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        for name in {"data.pkl", bomb}:
            archive.writestr(f"a/{name}", bytes(64 << 20) if name == bomb else b"\x80\x02}.", method)
    (tmp_path / "m.pt").write_bytes((tmp_path / "model.pt").read_bytes())
    assert "is compressed by method" in refused(tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="is compressed by method"):
        load_checkpoint(tmp_path)


def test_entries_that_share_bytes_are_refused(sound: bytes, tmp_path: Path) -> None:
    """Two entries of the list with one place in the file: a megabyte would be as many gigabytes as one likes."""
    edited = bytearray(sound)
    first = edited.index(b"PK\x01\x02")
    second = edited.index(b"PK\x01\x02", first + 4)
    edited[second + 42 : second + 46] = edited[first + 42 : first + 46]
    (tmp_path / "m.pt").write_bytes(edited)
    assert "overlap" in refused(tmp_path / "m.pt")


def aliased(content: dict[str, Any]) -> None:
    """512 layers, all of one layer's numbers."""
    block = {name: tensor for name, tensor in content["state_dict"].items() if ".h.0." in name}
    content["config"]["n_layer"] = 512
    for layer in range(1, 512):
        content["state_dict"] |= {name.replace(".h.0.", f".h.{layer}."): tensor for name, tensor in block.items()}


def half(content: dict[str, Any]) -> None:
    """Two tensors of which one begins within the other."""
    numbers = torch.zeros(97 * 8 + 8)
    content["state_dict"][EMBEDDING] = numbers[:-8].view(97, 8)
    content["state_dict"][HEAD] = numbers[8:].view(97, 8)


def repeated(content: dict[str, Any]) -> None:
    """A tensor whose rows are one row."""
    content["state_dict"][HEAD] = torch.zeros(97 * 8).as_strided((97, 8), (0, 1))


ALIASES = {aliased: "share numbers", half: "share numbers", repeated: "overlap"}


@pytest.mark.parametrize("alias", ALIASES, ids=lambda alias: alias.__name__)
def test_tensors_that_share_numbers_are_refused(
    alias: Callable[[dict[str, Any]], None], content: dict[str, Any], tmp_path: Path
) -> None:
    alias(content)
    torch.save(content, tmp_path / "m.pt")
    assert ALIASES[alias] in refused(tmp_path / "m.pt")


def test_one_storage_under_two_types_is_refused(tmp_path: Path) -> None:
    tensors = {
        dtype: StoredTensor(StoredStorage("0", dtype, numel), 0, (numel,), (1,))
        for dtype, numel in (("float32", 8), ("float16", 16))
    }
    with pytest.raises(CheckpointError, match="share numbers"):
        check_apart(tmp_path, tensors)


def test_a_tied_head_is_one_tensor(content: dict[str, Any], tmp_path: Path) -> None:
    content["state_dict"][HEAD] = content["state_dict"][EMBEDDING]
    torch.save(content, tmp_path / "m.pt")
    state = load_checkpoint(tmp_path / "m.pt").state_dict
    assert torch.equal(state[HEAD], state[EMBEDDING])


def laughs(levels: int) -> bytes:
    """A pickled list that holds ten lists, each of which holds ten … : all of them are ``levels`` objects."""
    value: Any = ["ha"] * 10
    for _ in range(levels):
        value = [value] * 10
    return pickle.dumps(value, 2)


@pytest.mark.parametrize("key", ["format_version", "arch", "config", "encoder_config", "state_dict", "midigpt_core"])
def test_values_that_name_one_another_are_counted_before_they_are_shown(
    key: str, content: dict[str, Any], tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        whole = {name: value for name, value in content.items() if name not in ("state_dict", key)}
        described = pickle.dumps({**whole, "state_dict": {}}, 2)
        archive.writestr(
            "a/data.pkl", described[:-1] + b"X" + struct.pack("<I", len(key)) + key.encode() + laughs(30)[2:-1] + b"s."
        )
    assert "refer to one another so often" in refused(tmp_path / "m.pt")


def test_one_long_text_in_many_places_is_counted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"state_dict": {}, "config": ["x" * 500_000] * 100_000}, 2))
    assert "refer to one another so often" in refused(tmp_path / "m.pt")


def test_a_million_instructions_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02](" + b"]" * 1_000_000 + b"e.")
    assert "more than 250000 instructions" in refused(tmp_path / "m.pt")


ENCODERS = {
    "number": (10**500, "a number of 1661 bits"),
    "negative number": (-(1 << 63) - 1, "a number of 64 bits"),
    "half a character": ("\ud800", "half a character"),
}


@pytest.mark.parametrize(("value", "message"), ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("key", ["config", "encoder_config", "midigpt_core"])
def test_values_that_other_programs_cannot_read(
    key: str, value: Any, message: str, content: dict[str, Any], tmp_path: Path
) -> None:
    content[key] = {**content[key], "more": [value]}
    torch.save(content, tmp_path / "m.pt")
    assert message in refused(tmp_path / "m.pt")


#: Reads a legacy directory within 512 MiB of address space more than the program has; prints the error.
LEGACY = """
import resource, sys
from pathlib import Path
from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.errors import CheckpointError
from midigpt_core.plugins import Selection, load_registry, use_registry
import midigpt_legacy.directory
use_registry(load_registry(Selection()))
size = int(Path("/proc/self/status").read_text().partition("VmSize:")[2].split()[0]) << 10
resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), size + (512 << 20)))
try:
    load_checkpoint(sys.argv[1])
except CheckpointError as error:
    print(error)
"""


def legacy(folder: Path, description: bytes) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/constants.pkl", b"\x80\x02).")
        archive.writestr("a/data.pkl", description)
    return folder


def module(name: bytes, state: bytes) -> bytes:
    """Instructions for a module with one attribute."""
    return b"c__torch__\nM\n)\x81}X" + struct.pack("<I", len(name)) + name + state + b"sb"


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
def test_long_names_of_modules_take_no_memory(tmp_path: Path) -> None:
    """A name of half a megabyte before each of 20,000 attributes: 129 KB of file, 10 GB of names."""
    attributes = b"".join(b"K\x01" if index % 2 else b"M" + struct.pack("<H", index) for index in range(40_000))
    inner = b"c__torch__\nM\n)\x81}(" + attributes + b"ub"
    folder = legacy(tmp_path / "names", b"\x80\x02" + module(b"n" * 500_000, inner) + b".")
    assert (folder / "model.pt").stat().st_size < 129_000
    done = subprocess.run([sys.executable, "-c", LEGACY, str(folder)], capture_output=True, text=True, check=True)
    assert "too long names" in done.stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1 << 20


def test_sharded_weights_are_told_how_to_be_joined(tmp_path: Path, content: dict[str, Any]) -> None:
    """And what is told works."""
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    size = {name: content["config"][name] for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    model = GPT2LMHeadModel(GPT2Config(**size, bos_token_id=0, eos_token_id=0, tie_word_embeddings=False))
    model.save_pretrained(tmp_path / "shards", max_shard_size="4KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    (tmp_path / "shards" / "encoder.json").write_text(json.dumps({"resolution": 12}))
    told = refused(tmp_path / "shards")
    call = re.search(r"Join them in Python: transformers\.(.+); then copy encoder\.json to the folder 'joined'", told)
    assert call is not None
    exec(
        call[1].replace("'joined'", "target"),
        {"AutoModelForCausalLM": AutoModelForCausalLM, "target": tmp_path / "joined"},
    )
    (tmp_path / "joined" / "encoder.json").write_bytes((tmp_path / "shards" / "encoder.json").read_bytes())
    assert read_header(tmp_path / "joined").architecture_config == size
