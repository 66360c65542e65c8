"""A Lightning logger that gives metrics to Trackio; ``trackio show --project midigpt`` shows them."""

import contextlib
import sys

import trackio
from lightning.pytorch.loggers.logger import Logger, rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from midigpt_core.errors import PluginError


class TrackioLogger(Logger):
    def __init__(self, options, context):
        super().__init__()
        self.options = options
        self.context = context
        self._settings = {}
        self._run = None

    @property
    def name(self):
        return self.context.run_name

    @property
    def version(self):
        return 0

    @property
    @rank_zero_experiment
    def experiment(self):
        """Trackio's run, started on first access. A run that is continued goes on in the one of its name."""
        if self._run is None:
            try:
                with _prints_to_stderr():
                    self._run = trackio.init(
                        project=self.options.project,
                        name=self.context.run_name,
                        config=self._settings,
                        space_id=self.options.space or None,
                        resume="allow" if self.context.continues else "never",
                        embed=False,
                        auto_log_cpu=self.options.machine,
                        auto_log_gpu=self.options.machine,
                    )
            except (ValueError, OSError) as error:
                reason = " ".join(str(error).split()).rstrip(".")
                raise PluginError(
                    f"logger 'trackio' cannot start its run ({reason}). Check its options, or choose another logger."
                ) from error
        return self._run

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        self._settings = dict(params)

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        self.experiment.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status):
        if self._run is not None:
            with _prints_to_stderr():
                # Not the method of the run: after this, nothing is left that Trackio would finish when Python exits.
                trackio.finish()
            self._run = None


def build(options, context):
    return TrackioLogger(options, context)


@contextlib.contextmanager
def _prints_to_stderr():
    """Trackio prints what it does; standard output belongs to the command."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
