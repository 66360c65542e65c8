"""The options, apart from the logger: reading them does not import MLflow."""

import attrs
from midigpt_loggers.options import MlflowOptions


@attrs.frozen(kw_only=True)
class Options(MlflowOptions):
    #: Name of the data in MLflow. Training sets that have names of their own keep them.
    dataset: str = attrs.field(default="corpus", validator=attrs.validators.min_len(1))
