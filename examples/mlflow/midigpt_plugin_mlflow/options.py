"""The options, apart from the logger: reading them does not import MLflow."""

import attrs


@attrs.frozen
class Options:
    #: Runs of one experiment are shown together.
    experiment: str = attrs.field(default="midigpt", validator=attrs.validators.min_len(1))
    #: Address of the tracking server, or of a database. Empty: MLFLOW_TRACKING_URI, or else mlflow.db in the run's
    #: folder.
    tracking_uri: str = ""
    #: Tags of the run.
    tags: dict[str, str] = attrs.Factory(dict)
