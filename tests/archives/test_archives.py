"""Archives of every kind, inside one another, encrypted, damaged and malicious."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from midigpt_core.archives import Archive, Listing, Member, MemberError, Problem, archive, content, is_archive
from midigpt_core.files import blake3_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

MOST = 1 << 20
FILES = {f"deep/{n:02}.mid": random.Random(n).randbytes(100 + 37 * n) for n in range(20)}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def tarred(files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def linked(*links: tuple[str, str, bytes]) -> bytes:
    """A tar of two files, and links: name, target, kind."""
    stream = io.BytesIO(tarred({"songs/a.mid": b"a" * 700, "./b.mid": b"b"}))
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for name, target, kind in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return stream.getvalue()


def listed(tmp_path: Path, data: bytes, name: str = "songs.bin") -> tuple[Archive, Listing]:
    path = tmp_path / name
    path.write_bytes(data)
    found = Archive(path, blake3_of)
    return found, found.listing({".mid"})


def contents(found: Archive, listing: Listing) -> dict[str, bytes | str]:
    """What each member reads as, or why it cannot be read."""
    read: dict[str, bytes | str] = {}
    with found.opened():
        for item in listing.found:
            try:
                read[item.name] = item.read(MOST) if isinstance(item, Member) else item.reason
            except MemberError as error:
                read[item.name] = error.reason
    return read


def read(tmp_path: Path, data: bytes, name: str = "songs.bin") -> dict[str, bytes | str]:
    return contents(*listed(tmp_path, data, name))


def test_links_of_a_tar_lead_to_its_files(tmp_path: Path) -> None:
    whole = linked(
        ("songs/hard.mid", "songs/a.mid", tarfile.LNKTYPE),
        ("songs/soft.mid", "a.mid", tarfile.SYMTYPE),
        ("up.mid", "songs/../b.mid", tarfile.SYMTYPE),
        ("twice.mid", "songs/soft.mid", tarfile.SYMTYPE),
        ("nowhere.mid", "missing.mid", tarfile.SYMTYPE),
        ("outside.mid", "../../etc/passwd", tarfile.SYMTYPE),
        ("round.mid", "round.mid", tarfile.SYMTYPE),
        ("folder", "songs", tarfile.SYMTYPE),
        ("pipe.mid", "", tarfile.FIFOTYPE),
    )
    for data in (whole, gzip.compress(whole)):
        found = read(tmp_path, data, "songs.tar.gz" if data is not whole else "songs.tar")
        a, b = b"a" * 700, b"b"
        assert found == {
            **{"songs/a.mid": a, "b.mid": b, "songs/hard.mid": a, "songs/soft.mid": a, "up.mid": b, "twice.mid": a},
            **dict.fromkeys(["nowhere.mid", "outside.mid", "round.mid"], "broken_link"),
            "pipe.mid": "unsupported_member",
        }


def test_files_behind_a_linked_folder_of_a_tar_are_listed_once(tmp_path: Path) -> None:
    """As in a folder on the disk: under their own names, or if those are hidden under the link's."""
    files = {"v1/a.mid": b"a", ".data/b.mid": b"b", ".data/deep/c.mid": b"c", ".data/.d.mid": b"d", ".e.mid": b"e"}
    stream = io.BytesIO(tarred(files))
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for name, target in {
            "latest": "v1",
            "best.mid": "latest/a.mid",
            "up.mid": "deeper/../b.mid",
            "songs": ".data",
            "again": "songs",
            "deeper": "songs/deep",
            ".data/round": "..",
            ".data/shown.mid": "../v1/a.mid",
            ".data/first.mid": "../.e.mid",
            ".data/lost.mid": "nowhere.mid",
            "gone": "v2",
            "lost.mid": "gone/a.mid",
            "v1/self": ".",
        }.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    found, listing = listed(tmp_path, stream.getvalue(), "songs.tar")
    assert contents(found, listing) == {
        "v1/a.mid": b"a",
        "best.mid": b"a",
        "up.mid": b"b",
        "songs/b.mid": b"b",
        "songs/deep/c.mid": b"c",
        "songs/first.mid": b"e",
        "songs/lost.mid": "broken_link",
        "lost.mid": "broken_link",
    }
    # A folder is no file of another kind; a link to nowhere may be one.
    assert listing.skipped == {"": 1}


def with_links(files: dict[str, bytes], links: dict[str, str]) -> bytes:
    """A tar of files, and symbolic links: target by name."""
    stream = io.BytesIO(tarred(files))
    with tarfile.open(fileobj=stream, mode="a") as archive:
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return stream.getvalue()


def test_many_links_one_through_another_end(tmp_path: Path) -> None:
    links: dict[str, str] = {}
    for number in range(3000):
        links |= {f".x/{number}": ".", f"{number}": f"{number + 1}/" * 60, f"to{number}": ".x"}
    found, listing = listed(tmp_path, with_links({".x/a.mid": b"a"}, links), "songs.tar")
    assert contents(found, listing) == {"to0/a.mid": b"a"}


DEEP = ["/".join([".h", *["a"] * depth]) for depth in range(40)]


@pytest.mark.parametrize(
    ("files", "links"),
    [
        # Each linked folder has the files of the ones inside it.
        ([f"{DEEP[-1]}/{number}.mid" for number in range(400)], {f"l{n}": name for n, name in enumerate(DEEP)}),
        ([f"{DEEP[-1]}/{number}.mid" for number in range(400)], {f"l{n}": name for n, name in enumerate(DEEP[::-1])}),
        # Each path is followed through 8 others of many folders, and then fails.
        ([], {f"{number}": "a/../" * 150 + f"{number + 1}/x" for number in range(400)}),
        # Each folder is shown under a name that is longer than the one before.
        ([".f0/a.mid"], {"to": ".f0", **{f".f{number}/{'n' * 40}": f"../.f{number + 1}" for number in range(300)}}),
    ],
    ids=["outer first", "inner first", "long paths", "long names"],
)
def test_links_whose_paths_take_long_are_a_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: list[str], links: dict[str, str]
) -> None:
    monkeypatch.setattr(archive, "SPARE_BYTES", 1 << 18)
    assert read(tmp_path, with_links(dict.fromkeys(files, b"a"), links), "songs.tar")[""] == "archive_bomb"


def test_many_files_behind_one_linked_folder_are_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SPARE_BYTES", 0)
    names = [f"{number}.mid" for number in range(500)]
    data = with_links({f"{DEEP[10]}/{name}": b"a" for name in names}, {"to": DEEP[10]})
    assert read(tmp_path, data, "songs.tar") == {f"to/{name}": b"a" for name in names}


@pytest.mark.parametrize("backwards", [False, True])
def test_eight_links_one_after_another_are_followed(tmp_path: Path, *, backwards: bool) -> None:
    chain = [f"{number}.mid" for number in range(10)]
    links = dict(zip(chain[1:], chain, strict=False))
    data = with_links({chain[0]: b"a"}, dict(reversed(links.items())) if backwards else links)
    assert read(tmp_path, data, "songs.tar") == {**dict.fromkeys(chain[:9], b"a"), chain[9]: "broken_link"}


def test_paths_of_links_have_at_most_1024_characters(tmp_path: Path) -> None:
    links = {"most.mid": "./" * 509 + "/a.mid", "more.mid": "./" * 510 + "/a.mid"}
    assert [len(path) for path in links.values()] == [1024, 1026]
    found = read(tmp_path, with_links({"a.mid": b"a"}, links), "songs.tar")
    assert found == {"a.mid": b"a", "most.mid": b"a", "more.mid": "broken_link"}


KINDS = {
    "zip": zipped(FILES),
    "stored zip": zipped(FILES, zipfile.ZIP_STORED),
    "zip behind a program": b"#!/bin/sh\n" * 50 + zipped(FILES),
    "tar": tarred(FILES),
    "tar.gz": tarred(FILES, "w:gz"),
    "tar.gz in parts": b"".join(
        gzip.compress(tarred(FILES)[start : start + 7000]) for start in range(0, len(tarred(FILES)), 7000)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_its_files(tmp_path: Path, kind: str) -> None:
    assert read(tmp_path, KINDS[kind]) == FILES
    assert is_archive(tmp_path / "songs.bin") == (kind != "zip behind a program")


@pytest.mark.parametrize("outer", [zipped, tarred])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_inside_archives(tmp_path: Path, outer: object, method: int) -> None:
    inner = {"in/a.zip": zipped(FILES, method), "b.TAR": tarred(FILES), "c.tgz": tarred(FILES, "w:gz"), "d.mid": b"d"}
    found = read(tmp_path, outer(inner))  # type: ignore[operator]
    wanted = {f"{name}/{file}": data for name in ("in/a.zip", "b.TAR", "c.tgz") for file, data in FILES.items()}
    assert found == {**wanted, "d.mid": b"d"}


def test_deflated_archives_inside_are_read_from_anywhere_by_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_POINT_BYTES", 1 << 16)
    monkeypatch.setattr(content, "_MOST_POINTS", 8)
    monkeypatch.setattr(content, "_PIECE_BYTES", 1 << 12)
    monkeypatch.setattr(content, "_MOST_CURSORS", 3)
    files = {f"{n}.mid": random.Random(n).randbytes(20_000) + bytes(n) for n in range(100)}
    found, listing = listed(tmp_path, zipped({"inner.zip": zipped(files)}))
    members = {item.name.removeprefix("inner.zip/"): item for item in listing.found if isinstance(item, Member)}
    names = list(files) * 3
    random.Random(1).shuffle(names)
    with found.opened(), ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda name: members[name].read(MOST) == files[name], names)) == [True] * len(names)


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    for data in (zipped({"a.mid": bytes(5 << 20)}), tarred({"a.mid": bytes(5 << 20)}, "w:gz")):
        assert read(tmp_path, data) == {"a.mid": bytes(MOST)}


def test_other_files_are_counted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    names = ["a.mid", "cover.JPG", "x/notes.txt", "y.txt", "README", "__MACOSX/a.mid", "x/._a.mid", ".git/b.mid"]
    found, listing = listed(tmp_path, zipped(dict.fromkeys(names, b"x")))
    assert contents(found, listing) == {"a.mid": b"x"}
    assert listing.skipped == {".jpg": 1, ".txt": 2, "": 1}


def test_encrypted_members_are_problems(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.mid": b"aaa", "b.mid": b"bbb", "c.zip": b"ccc", "d.txt": b"d"}))
    for name in (b"a.mid", b"c.zip", b"d.txt"):
        data[data.rindex(name) - 46 + 8] |= 1
    assert read(tmp_path, bytes(data)) == {"a.mid": "encrypted", "b.mid": b"bbb", "c.zip": "encrypted"}


def test_a_damaged_member_costs_no_other(tmp_path: Path) -> None:
    data = bytearray(zipped({"a.mid": b"aaaa" * 9, "b.mid": b"bbb", "c.mid": b"ccc"}, zipfile.ZIP_STORED))
    data[data.index(b"aaaa")] ^= 1
    data[data.index(b"b.mid") - 30] ^= 1
    assert read(tmp_path, bytes(data)) == {"a.mid": "damaged_member", "b.mid": "damaged_member", "c.mid": b"ccc"}


def test_a_compression_that_is_not_read_is_a_problem(tmp_path: Path) -> None:
    data = zipped({"a.mid": b"a" * 99}, zipfile.ZIP_LZMA)
    assert read(tmp_path, data) == {"a.mid": "unsupported_member"}


def test_a_damaged_archive_is_a_problem_after_what_can_be_read(tmp_path: Path) -> None:
    assert read(tmp_path, zipped(FILES)[:-30]) == {"": "damaged_archive"}
    assert read(tmp_path, b"<html>not found</html>", "songs.zip") == {"": "damaged_archive"}
    assert read(tmp_path, b"", "songs.tar.gz") == {"": "damaged_archive"}
    whole = tarred(FILES)
    for cut in (tarred(FILES, "w:gz")[:-500], whole[:9000], whole[:4096] + b"x" * 512 + whole[4608:], whole[:10240]):
        found = read(tmp_path, cut)
        assert found.pop("") == "damaged_archive"
        good = {name: data for name, data in found.items() if data != "damaged_member"}
        assert len(good) >= len(found) - 1
        assert good.items() < FILES.items()
    inner = read(tmp_path, zipped({"a.zip": b"PK\x03\x04 junk", "b.mid": b"b"}))
    assert inner == {"a.zip": "damaged_archive", "b.mid": b"b"}
    # Not the bytes of the archive inside, but the header before it.
    outer = bytearray(zipped({"a.zip": zipped({"x.mid": b"x"}), "b.mid": b"b"}))
    outer[0] ^= 1
    assert read(tmp_path, bytes(outer)) == {"a.zip": "damaged_archive", "b.mid": b"b"}


class TestMalicious:
    def test_an_archive_in_itself_ends(self, tmp_path: Path) -> None:
        data = zipped({"a.mid": b"a"})
        for _ in range(archive.MOST_LEVELS + 2):
            data = zipped({"a.mid": b"a", "in.zip": data}, zipfile.ZIP_STORED)
        found = read(tmp_path, data)
        assert list(found.values()) == [b"a"] * archive.MOST_LEVELS + ["archive_too_deep"]

    def test_an_archive_that_inflates_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "SPARE_BYTES", 1 << 20)
        bomb = zipped({"x.txt": bytes(20 << 20), "a.mid": b"a"}, zipfile.ZIP_STORED)
        assert read(tmp_path, zipped({"in.zip": bomb, "b.mid": b"b"})) == {"in.zip": "archive_bomb", "b.mid": b"b"}
        assert read(tmp_path, tarred({"x": bytes(20 << 20), "b.mid": b"b"}, "w:gz")) == {"": "archive_bomb"}

    def test_many_small_bombs_share_one_budget(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "SPARE_BYTES", 1 << 20)
        monkeypatch.setattr(archive, "MOST_EXPANSION", 10)
        bomb = zipped({"x.txt": bytes(1 << 19), "a.mid": b"a"}, zipfile.ZIP_STORED)
        found = read(tmp_path, zipped({f"{n}.zip": bomb for n in range(20)}))
        assert 1 < list(found.values()).count("archive_bomb") < 20

    def test_a_directory_that_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "SPARE_BYTES", 1 << 14)
        inner = zipped({f"{n:04}.mid": b"" for n in range(2000)}, zipfile.ZIP_STORED)
        assert read(tmp_path, zipped({"in.zip": inner, "b.mid": b"b"}))["in.zip"] == "archive_bomb"

    def test_more_files_than_are_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
        assert list(read(tmp_path, zipped(FILES)).values())[5:] == ["archive_bomb"]

    def test_overlapping_members(self, tmp_path: Path) -> None:
        data = zipped({"a.mid": b"a" * 500, "b.mid": b"b" * 500, "c.mid": b"c"}, zipfile.ZIP_STORED)
        # The directory says that b starts where a does.
        directory = bytearray(data)
        at = directory.rindex(b"b.mid") - 46 + 42
        directory[at : at + 4] = bytes(4)
        found = read(tmp_path, bytes(directory))
        assert found["a.mid"] == "damaged_member"
        assert found["c.mid"] == b"c"

    def test_a_header_of_a_tar_that_claims_gigabytes(self, tmp_path: Path) -> None:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, 1 << 32
        assert read(tmp_path, info.tobuf() + bytes(4096)) == {"": "archive_bomb"}

    def test_every_cut_and_many_mutations_are_read_or_refused(self, tmp_path: Path) -> None:
        few = dict(list(FILES.items())[:3])
        chance = random.Random(0)
        for whole in (zipped({"in.zip": zipped(few), **few}), tarred(few), tarred(few, "w:gz")):
            for number in range(120):
                changed = bytearray(whole[: chance.randrange(1, len(whole))] if number % 2 else whole)
                for _ in range(3):
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
                for name, data in read(tmp_path, bytes(changed), "songs.zip").items():
                    assert isinstance(data, str) or len(data) <= MOST, name


def test_names_are_printable_text_without_roots(tmp_path: Path) -> None:
    found = read(
        tmp_path, tarred({"/abs.mid": b"1", "../up.mid": b"2", b"\xff.mid".decode("utf-8", "surrogateescape"): b"3"})
    )
    assert list(found) == ["abs.mid", "up.mid", r"\xff.mid"]
    for name in found:
        name.encode()


def test_a_problem_has_its_place(tmp_path: Path) -> None:
    _, listing = listed(tmp_path, zipped({"in.zip": zipped({"x/lz.mid": b"1"}, zipfile.ZIP_BZIP2)}))
    assert listing.found == [Problem("in.zip/x/lz.mid", "unsupported_member")]


def test_the_hash_of_a_file_that_changed(tmp_path: Path) -> None:
    calls: list[Path] = []
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(FILES))
    found = Archive(path, lambda path: calls.append(path) or blake3_of(path))  # type: ignore[func-returns-value]
    assert found.content_hash() == found.content_hash() == blake3_of(path)
    assert len(calls) == 1
    found.content_hash(after_reading=True)
    found.content_hash(after_reading=True)
    assert len(calls) == 2
    path.write_bytes(zipped(FILES) + b"x")
    assert found.content_hash(after_reading=True) == blake3_of(path)
