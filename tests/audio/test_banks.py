"""Which sound bank is used, and what is said where there is none."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.audio import banks, libraries
from midigpt_core.audio.banks import sound_bank
from midigpt_core.audio.libraries import audio_libraries
from midigpt_core.errors import ConfigError
from support.soundfont import soundfont

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIDIGPT_SOUNDFONT", raising=False)
    monkeypatch.setattr(banks, "FOLDERS", ())
    monkeypatch.setattr(banks, "find_spec", lambda _: None)


@pytest.fixture
def fresh_libraries() -> Iterator[None]:
    """As in a process that has not loaded them yet."""
    audio_libraries.cache_clear()
    yield
    audio_libraries.cache_clear()


def bank(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(soundfont())
    return path


def test_what_is_named_comes_first_then_the_variable_then_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable = bank(tmp_path / "named.sf2"), bank(tmp_path / "variable.sf3")
    system = tmp_path / "system"
    monkeypatch.setattr(banks, "FOLDERS", (str(tmp_path / "not there"), str(system)))
    bank(system / "FluidR3_GM.sf2")
    default = bank(system / "default-GM.sf2")
    assert sound_bank() == default
    assert sound_bank("") == default
    monkeypatch.setenv("MIDIGPT_SOUNDFONT", str(variable))
    assert sound_bank() == variable
    assert sound_bank(str(named)) == named


def test_a_bank_that_only_adds_to_another_comes_last_and_other_files_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(banks, "FOLDERS", (str(tmp_path),))
    bank(tmp_path / "A_GS.sf2")
    (tmp_path / "default.sf2").write_bytes(b"an empty download")
    (tmp_path / "readme.txt").write_bytes(soundfont())
    wanted = bank(tmp_path / "Z.sf2")
    assert sound_bank() == wanted


def test_the_bank_of_an_installed_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = bank(tmp_path / "TimGM6mb.sf2")
    spec: Any = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(banks, "find_spec", {"pretty_midi": spec}.get)
    assert sound_bank() == inside


def test_no_bank_says_how_to_get_one() -> None:
    with pytest.raises(ConfigError) as caught:
        sound_bank(option="--soundfont")
    assert str(caught.value) == (
        "no sound bank was found on this machine. Install one (Debian, Ubuntu: 'apt install timgm6mb-soundfont'; "
        "anywhere: 'pip install pretty_midi', which contains one), or name an .sf2 or .sf3 file with --soundfont or in "
        "MIDIGPT_SOUNDFONT."
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, r"cannot be read \(No such file or directory\)"),
        (lambda path: path.mkdir(), r"cannot be read \(.*"),
        (lambda path: path.write_bytes(b""), "is not a SoundFont bank"),
        (lambda path: path.write_bytes(soundfont()[:9000]), "is not a SoundFont bank, or cut off"),
        (lambda path: path.write_bytes(b"RIFF\0\0\0\0WAVEfmt "), "is not a SoundFont bank"),
        (os.mkfifo, r"cannot be read \(.*"),
    ],
)
def test_a_file_that_is_no_bank_is_refused_in_one_line(
    make: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bank.sf2"
    make(path)
    with pytest.raises(ConfigError, match=rf"^--soundfont .*bank\.sf2: {reason}.* Name an \.sf2 or \.sf3 file, or"):
        sound_bank(str(path), option="--soundfont")
    monkeypatch.setenv("MIDIGPT_SOUNDFONT", str(path))
    with pytest.raises(ConfigError, match=r"^MIDIGPT_SOUNDFONT .*bank\.sf2: .* or leave MIDIGPT_SOUNDFONT out\.$"):
        sound_bank()


def test_missing_packages_name_the_extra(monkeypatch: pytest.MonkeyPatch, fresh_libraries: None) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        audio_libraries()
    assert str(caught.value) == (
        "audio needs the packages 'pyfluidsynth' and 'soundfile', which are not installed. Install the extra with: "
        "pip install 'midigpt-core[audio]'"
    )


def test_a_missing_library_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, fresh_libraries: None) -> None:
    def import_module(name: str) -> object:
        if name == "fluidsynth":
            raise ImportError("Couldn't find the FluidSynth library.")
        return importlib.import_module(name)

    monkeypatch.setattr(libraries, "import_module", import_module)
    with pytest.raises(ConfigError) as caught:
        audio_libraries()
    assert str(caught.value) == (
        "audio needs the library FluidSynth, which cannot be loaded (Couldn't find the FluidSynth library). Install it "
        "with: apt install libfluidsynth3 (Debian, Ubuntu) or brew install fluid-synth (macOS)"
    )
