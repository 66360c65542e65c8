"""The options of the loggers."""

from __future__ import annotations

from typing import Literal

from attrs import Factory, field, frozen
from attrs.validators import ge, min_len


@frozen(kw_only=True)
class TensorBoardOptions:
    #: Folder of the event files, relative to the run's folder.
    folder: str = field(default="tensorboard", validator=min_len(1))
    #: Seconds between writes to the disk.
    flush_secs: int = field(default=30, validator=ge(1))


@frozen(kw_only=True)
class WandbOptions:
    project: str = "midigpt"
    #: Team or user; None: the account's default.
    entity: str | None = None
    #: Runs of the same group are shown together.
    group: str | None = None
    tags: tuple[str, ...] = ()
    notes: str = ""
    #: ``auto`` is online if this machine has a key and reaches the server, else offline: ``wandb sync`` uploads later.
    mode: Literal["auto", "online", "offline"] = "auto"


@frozen(kw_only=True)
class MlflowOptions:
    #: Runs of one experiment are shown together.
    experiment: str = field(default="midigpt", validator=min_len(1))
    #: Address of the tracking server, or of a database. Empty: MLFLOW_TRACKING_URI, or else mlflow.db in the run's
    #: folder.
    tracking_uri: str = ""
    #: Tags of the run.
    tags: dict[str, str] = Factory(dict)
