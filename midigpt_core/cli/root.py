"""``midigpt``: the list of commands."""

from __future__ import annotations

import click

from midigpt_core import __version__
from midigpt_core.cli.groups import THIRD_PARTY_COMMANDS, LazyGroup
from midigpt_core.cli.options import common_options


@common_options
@click.group(
    name="midigpt",
    cls=LazyGroup,
    entry_point_group=THIRD_PARTY_COMMANDS,
    lazy_commands={
        "train": ("midigpt_core.cli.train:train", "Train a model."),
        "finetune": ("midigpt_core.cli.finetune:finetune", "Continue a model's training on your own songs."),
        "preprocess": ("midigpt_core.cli.preprocess:preprocess", "Build the corpus that training reads."),
        "curves": ("midigpt_core.cli.curves:curves", "Draw the curves of a run."),
        "report": ("midigpt_core.cli.report:report", "Write a page on a run."),
        "evaluate": ("midigpt_core.cli.evaluate:evaluate", "Print validation losses of a bundle."),
        "generate": ("midigpt_core.cli.generate:generate", "Write music with a trained model."),
        "encode": ("midigpt_core.cli.encode:encode", "Print the tokens of a MIDI file."),
        "decode": ("midigpt_core.cli.decode:decode", "Write tokens as a MIDI file."),
        "inspect": ("midigpt_core.cli.inspect:inspect", "Show what a bundle is and who made it."),
        "diff": ("midigpt_core.cli.diff:diff", "List the differences between two bundles."),
        "convert": ("midigpt_core.cli.convert:convert", "Convert a bundle to another format."),
        "corpus": ("midigpt_core.cli.corpus:corpus", "Inspect, verify and clean corpora."),
        "encoders": ("midigpt_core.cli.encoders:encoders", "List encoders and presets."),
        "adapters": ("midigpt_core.cli.adapters:adapters", "List, apply and merge adapters."),
        "config": ("midigpt_core.cli.config:config", "Show or convert a configuration."),
        "plugins": ("midigpt_core.cli.plugins:plugins", "List, install, check and write plugins."),
        "doctor": ("midigpt_core.cli.doctor:doctor", "Check the installation and the machine."),
        "help": ("midigpt_core.cli.help:help_on", "Show the usage of a command."),
        "version": ("midigpt_core.cli.version:version", "Show the versions of midigpt-core and its main dependencies."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="midigpt-core", message="%(prog)s %(version)s")
def root() -> None:
    """Train MIDI-GPT models on multitrack MIDI and write music with them. Every stage can be a plugin."""
