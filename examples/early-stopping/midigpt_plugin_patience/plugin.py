"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl

MIDIGPT_API = 1

#: Evaluations without improvement after which a run ends.
EVALUATIONS = 3


@hookimpl
def midigpt_callbacks(run):
    # Imported here, for this module is read by commands that have no use for Lightning.
    from midigpt_plugin_patience.callback import Patience

    return [Patience(EVALUATIONS)]
