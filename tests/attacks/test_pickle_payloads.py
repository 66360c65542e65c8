"""Pickles that want code run are refused, wherever they hide; nothing they name is ever called."""

from __future__ import annotations

import contextlib
import io
import marshal
import pickle
import struct
import tarfile
import time
import tracemalloc
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tiny_registry")

#: Every payload that runs code leaves this file in the current folder.
TOUCH = "open('canary', 'w').close()"


def name(path: str) -> bytes:
    """The GLOBAL instruction for ``module.attribute``."""
    module, _, attribute = path.rpartition(".")
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(value: str) -> bytes:
    """The BINUNICODE instruction."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(path: str, *arguments: bytes) -> bytes:
    """Instructions that call ``module.attribute`` with what ``arguments`` push."""
    return name(path) + b"(" + b"".join(arguments) + b"tR"


def nested_archive() -> bytes:
    """A whole torch.save file whose unpickling touches the canary."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + call("builtins.exec", text(TOUCH)) + b".")
    return stream.getvalue()


def data(value: bytes) -> bytes:
    """The BINBYTES instruction."""
    return b"B" + struct.pack("<I", len(value)) + value


MAP_ARGUMENTS = b"(" + name("builtins.exec") + b"]" + text(TOUCH) + b"at"
CODE = marshal.dumps(compile(TOUCH, "payload", "exec"))

#: Instructions, complete but for PROTO and STOP, that touch the canary when Python's own unpickler runs them.
LIVE: dict[str, bytes] = {
    "exec": call("builtins.exec", text(TOUCH)),
    "eval": call("builtins.eval", text(f"exec({TOUCH!r})")),
    "open": call("builtins.open", text("canary"), text("w")),
    "io.open": call("io.open", text("canary"), text("w")),
    "os.system": call("os.system", text("touch canary")),
    "posix.system": call("posix.system", text("touch canary")),
    "os.mkdir": call("os.mkdir", text("canary")),
    "os.symlink": call("os.symlink", text("/"), text("canary")),
    "subprocess.call": call("subprocess.call", b"]" + text("touch") + b"a" + text("canary") + b"a"),
    "import then getattr": call("builtins.getattr", call("importlib.import_module", text("os")), text("system"))
    + b"("
    + text("touch canary")
    + b"tR",
    "methodcaller": call("operator.methodcaller", text("system"), text("touch canary"))
    + b"("
    + call("importlib.import_module", text("os"))
    + b"tR",
    "partial": call("functools.partial", name("builtins.exec"), text(TOUCH)) + b")R",
    "map": call("builtins.list", call("builtins.map", name("builtins.exec"), b"]" + text(TOUCH) + b"a")),
    "nested pickle": call("pickle.loads", data(b"\x80\x02" + call("builtins.exec", text(TOUCH)) + b".")),
    "code object": call("types.FunctionType", call("marshal.loads", data(CODE)), b"}") + b")R",
    "runpy": call("runpy._run_code", call("marshal.loads", data(CODE)), b"}"),
    "timeit": call("timeit.timeit", text(TOUCH), text("pass"), name("time.perf_counter"), b"K\x01"),
    "INST": b"(" + text(TOUCH) + b"ibuiltins\nexec\n",
    "OBJ": b"(" + name("builtins.exec") + text(TOUCH) + b"o",
    "STACK_GLOBAL": text("builtins") + text("exec") + b"\x93(" + text(TOUCH) + b"tR",
    "NEWOBJ": call("builtins.list", name("builtins.map") + MAP_ARGUMENTS + b"\x81"),
    "NEWOBJ_EX": call("builtins.list", name("builtins.map") + MAP_ARGUMENTS + b"}\x92"),
    "BUILD": call("codeop.Compile") + b"}" + text("flags") + call("builtins.exec", text(TOUCH)) + b"sb",
    "code under an allowed name": name("collections.OrderedDict") + b"(" + call("builtins.exec", text(TOUCH)) + b"0tR",
    "hub": call("torch.hub._import_module", text("evil"), text("evil.py")),
}


class _WithoutStorages(pickle.Unpickler):
    def persistent_load(self, _identity: Any) -> Any:
        return None


def archived(sound: dict[str, Any], path: Path, replace: Callable[[bytes], bytes], **extra: bytes) -> Path:
    """A sound bundle with its description replaced."""
    stream = io.BytesIO()
    torch.save(sound, stream)
    with zipfile.ZipFile(stream) as before, zipfile.ZipFile(path, "w") as after:
        for entry in before.namelist():
            value = before.read(entry)
            after.writestr(entry, replace(value) if entry == "archive/data.pkl" else value)
        for entry, value in extra.items():
            after.writestr(f"archive/{entry}", value)
    return path


def alone(payload: bytes) -> Callable[[bytes], bytes]:
    return lambda _: b"\x80\x04" + payload + b"."


def before_the_bundle(payload: bytes) -> Callable[[bytes], bytes]:
    """The payload runs, its value is dropped, and a sound bundle follows."""
    return lambda sound: sound[:2] + payload + b"0" + sound[2:]


def as_a_value(payload: bytes) -> Callable[[bytes], bytes]:
    """One more key of the bundle, whose value is the payload's."""
    return lambda sound: sound[:-1] + text("more") + payload + b"s."


PLACES = {"alone": alone, "before": before_the_bundle, "value": as_a_value}


def refuse(path: Path, canary: Path) -> None:
    for read in (load_checkpoint, read_header):
        started = time.process_time()
        with pytest.raises(CheckpointError, match=str(path)):
            read(path)
        assert time.process_time() - started < 2
    assert not canary.exists()
    assert not canary.is_symlink()


@pytest.mark.parametrize("payload", LIVE.values(), ids=LIVE)
def test_the_payload_is_live(payload: bytes, canary: Path) -> None:
    """Else refusing it would show nothing."""
    canary.with_name("evil.py").write_text(TOUCH)
    unpickler = _WithoutStorages(io.BytesIO(b"\x80\x04" + payload + b"."))
    # What a payload returns need not fit where it stands.
    with contextlib.suppress(TypeError, AttributeError, pickle.UnpicklingError, RuntimeError):
        unpickler.load()
    assert canary.exists() or canary.is_symlink()


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("payload", LIVE.values(), ids=LIVE)
def test_a_live_payload_is_refused(
    payload: bytes, place: Callable[[bytes], Callable[[bytes], bytes]], content: dict[str, Any], canary: Path
) -> None:
    canary.with_name("evil.py").write_text(TOUCH)
    refuse(archived(content, canary.with_name("m.pt"), place(payload)), canary)


def test_the_bundle_without_a_payload_loads(content: dict[str, Any], canary: Path) -> None:
    assert load_checkpoint(archived(content, canary.with_name("m.pt"), lambda sound: sound)).encoder == "tiny"


STORAGE = b"(" + text("storage") + name("torch.FloatStorage") + text("0") + text("cpu")

#: Values that are small in the file and huge, endless or deep in memory.
HEAVY: dict[str, bytes] = {
    "memo index": b"]r\xff\xff\xff\xff",
    "billion laughs": b"]q\x00"
    + b"".join(b"](" + (b"h" + bytes([level])) * 10 + b"eq" + bytes([level + 1]) for level in range(30)),
    "list in itself": b"]q\x00h\x00a",
    "deep": b"]" * 10_000 + b"a" * 9_999,
}

#: Descriptions that are damaged, ask for bytes that are not there, or for classes that torch and Python know.
CRAFTED: dict[str, bytes] = {
    "long number": b"\x8b\xff\xff\xff\x7f",
    "string beyond the end": b"X\xff\xff\xff\xff",
    "bytes8": b"\x8e" + b"\xff" * 7 + b"\x7f",
    "extension registry": b"\x82\x01",
    "unknown opcode": b"\xfe",
    "stack underflow": b"0000",
    "unhashable key": b"}]Ns",
    "no stop": b"N" * 10,
    "storage twice as long": STORAGE + b"K\xfftQ",
    "negative storage": STORAGE + b"J\xff\xff\xff\xfftQ",
    "storage outside": b"(" + text("storage") + name("torch.FloatStorage") + text("../../x") + text("cpu") + b"K\x08tQ",
    "storage of a foreign class": b"(" + text("storage") + name("os.system") + text("0") + text("cpu") + b"K\x08tQ",
    "persistent id of text": text("storage") + b"Q",
    "torch's nested loader": call("torch.storage._load_from_bytes", data(nested_archive())),
    "torch.load": call("torch.serialization.load", call("io.BytesIO", data(nested_archive()))),
    "sparse tensor": call("torch._utils._rebuild_sparse_tensor", b"K\x00", b"(tN"),
    "tensor subclass": call(
        "torch._tensor._rebuild_from_type_v2", name("builtins.exec"), name("torch.Tensor"), b")", b"}"
    ),
    "device tensor from numpy": call("torch._utils._rebuild_device_tensor_from_numpy", b"N", b"N", b"N", b"N"),
    "numpy array": call("numpy._core.multiarray._reconstruct", name("numpy.ndarray"), b"(K\x00t", text("b")),
    "defaultdict": call("collections.defaultdict", name("builtins.exec")),
    "OrderedDict of pairs": call("collections.OrderedDict", b"]"),
    "state of a function": name("torch._utils._rebuild_tensor_v2") + b"}" + text("__code__") + b"Nsb",
    "dotted name": call("torch._utils._rebuild_tensor_v2.__globals__.get", text("os")),
    "class of a program": call("__torch__.Module"),
    "torch.jit": call("torch.jit._pickle.build_tensor_from_id", b"K\x00"),
}


@pytest.mark.parametrize("payload", CRAFTED.values(), ids=CRAFTED)
@pytest.mark.parametrize("key", ["more", "encoder_config", "state_dict"])
def test_a_crafted_description_is_refused(payload: bytes, key: str, content: dict[str, Any], canary: Path) -> None:
    refuse(archived(content, canary.with_name("m.pt"), lambda sound: sound[:-1] + text(key) + payload + b"s."), canary)


@pytest.mark.parametrize("payload", HEAVY.values(), ids=HEAVY)
@pytest.mark.parametrize("key", ["config", "encoder_config", "state_dict", "midigpt_core"])
def test_a_heavy_value_is_refused_in_little_memory(
    payload: bytes, key: str, content: dict[str, Any], canary: Path
) -> None:
    path = archived(content, canary.with_name("m.pt"), lambda sound: sound[:-1] + text(key) + payload + b"s.")
    tracemalloc.start()
    try:
        refuse(path, canary)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name_of_copy", ["archive/data.pkl", "other/data.pkl", "data.pkl"])
def test_a_second_description_is_refused(content: dict[str, Any], canary: Path, name_of_copy: str) -> None:
    """Two readers of one zip can differ in which of two entries they take."""
    path = archived(content, canary.with_name("m.pt"), lambda sound: sound)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name_of_copy, b"\x80\x02" + LIVE["exec"] + b".")
    refuse(path, canary)


def test_a_compressed_bomb_is_refused(content: dict[str, Any], canary: Path) -> None:
    path = canary.with_name("m.pt")
    for entry in ("archive/data.pkl", "archive/data/0", "archive/byteorder"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(entry, bytes(24 << 20))
            if entry != "archive/data.pkl":
                archive.writestr("archive/data.pkl", b"\x80\x02}.")
        tracemalloc.start()
        try:
            refuse(path, canary)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


def test_a_zip_of_a_hundred_thousand_entries_is_refused(canary: Path) -> None:
    path = canary.with_name("m.pt")
    directory = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0) + b"%06d" % number
        for number in range(100_000)
    )
    path.write_bytes(directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 0, 0))
    with pytest.raises(CheckpointError, match="its list of entries takes 5200000 bytes"):
        load_checkpoint(path)


def test_a_file_before_zip_archives_is_refused(content: dict[str, Any], canary: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (TOUCH,)

    path = canary.with_name("m.pt")
    torch.save({**content, "more": Payload()}, path, _use_new_zipfile_serialization=False)
    refuse(path, canary)


@pytest.mark.parametrize("payload", ["exec", "os.system", "STACK_GLOBAL"])
def test_an_old_tar_archive_is_refused(payload: str, canary: Path) -> None:
    """torch.load before 2.6 unpickled the members of its oldest format in spite of weights_only (CVE-2025-32434)."""
    path = canary.with_name("m.pt")
    with tarfile.open(path, "w") as archive:
        for member in ("storages", "tensors", "pickle"):
            content = b"\x80\x02" + LIVE[payload] + b"."
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    refuse(path, canary)


def test_archives_within_archives_are_refused(content: dict[str, Any], canary: Path) -> None:
    """A zip in a zip, a zip behind a zip, and a payload under the names that other readers look for."""
    sound = archived(content, canary.with_name("sound.pt"), lambda whole: whole).read_bytes()
    path = archived(content, canary.with_name("m.pt"), lambda whole: nested_archive())
    refuse(path, canary)
    for whole in (nested_archive() + sound[:-22], sound + nested_archive(), b"PK\x03\x04" + nested_archive()):
        path.write_bytes(whole)
        refuse(path, canary)
    live = b"\x80\x02" + LIVE["exec"] + b"."
    harmless = archived(
        content, canary.with_name("n.pt"), lambda whole: whole, **{"data/extra.pkl": live, "constants.pkl": live}
    )
    refuse(harmless, canary)


def test_a_program_in_disguise_is_refused(canary: Path) -> None:
    """torch.load hands TorchScript archives to torch.jit.load."""
    path = canary.with_name("m.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path))
    with pytest.raises(CheckpointError, match="a TorchScript program, not a bundle"):
        load_checkpoint(path)


@pytest.mark.parametrize("payload", LIVE.values(), ids=LIVE)
def test_a_legacy_directory_with_a_payload_is_refused(payload: bytes, content: dict[str, Any], canary: Path) -> None:
    canary.with_name("evil.py").write_text(TOUCH)
    folder = canary.with_name("legacy")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    archived(
        content, folder / "model.pt", as_a_value(payload), **{"constants.pkl": b"\x80\x02).", "code/__torch__.py": b""}
    )
    with pytest.raises(CheckpointError, match="Nothing in it was run"):
        load_checkpoint(folder, allow_unsafe=False)
    assert not canary.exists()
