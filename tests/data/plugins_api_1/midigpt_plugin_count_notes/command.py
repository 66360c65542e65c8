"""Counts the notes of each track of a MIDI file."""

from pathlib import Path

import click


@click.command()
@click.argument("song", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(song):
    """Count the notes of each track of SONG."""
    # Imported here: 'midigpt count-notes --help' has no use for it.
    from midigpt_core.score import Score

    for number, track in enumerate(Score.from_midi(song).tracks):
        notes = sum(len(bar.notes.pitch) for bar in track.bars)
        click.echo(f"{number}  program {track.program}  {notes:,} notes")
