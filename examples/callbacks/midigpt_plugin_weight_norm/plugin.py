"""What this plugin provides; imports nothing heavy."""

from midigpt_core import hookimpl

MIDIGPT_API = 1


@hookimpl
def midigpt_callbacks(run):
    # Imported here, for this module is read by commands that have no use for Lightning.
    from midigpt_plugin_weight_norm.callback import WeightNorm

    return [WeightNorm(run.run_dir / "weight_norm.txt")]
