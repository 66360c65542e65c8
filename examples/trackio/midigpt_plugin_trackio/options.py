"""The options, apart from the logger: reading them does not import Trackio."""

import attrs


@attrs.frozen
class Options:
    #: Runs of one project are shown together.
    project: str = attrs.field(default="midigpt", validator=attrs.validators.min_len(1))
    #: Space on the Hugging Face Hub that shows the run, as USER/NAME. Empty: this machine only.
    space: str = ""
    #: Whether to log the load of processors and GPUs too.
    machine: bool = False
