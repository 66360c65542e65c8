"""The command, as a user types it."""

from click.testing import CliRunner

from midigpt_plugin_count_notes.command import command

#: A MIDI file with two quarter notes.
SONG = bytes.fromhex(
    "4d546864 00000006 0000 0001 01e0 4d54726b 00000016 00 903c40 8360 803c40 00 903e40 8360 803e40 00 ff2f00"
)


def test_count_notes(tmp_path):
    song = tmp_path / "song.mid"
    song.write_bytes(SONG)
    result = CliRunner().invoke(command, [str(song)])
    assert result.exit_code == 0
    assert result.output == "0  program 0  2 notes\n"
    assert CliRunner().invoke(command, [str(tmp_path / "absent.mid")]).exit_code == 2
