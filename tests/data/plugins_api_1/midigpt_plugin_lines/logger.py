"""Writes every metric as a line of a text file in the run's folder."""

import attrs
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only


@attrs.frozen
class Options:
    #: Name of the file in the run's folder.
    file: str = "lines.txt"


class TextLogger(Logger):
    def __init__(self, path, run_name):
        super().__init__()
        self.path = path
        self.run_name = run_name

    @property
    def name(self):
        return self.run_name

    @property
    def version(self):
        return 0

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        pass

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        with self.path.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{step} {name} {value}\n" for name, value in metrics.items())


def build(options, context):
    return TextLogger(context.run_dir / options.file, context.run_name)
