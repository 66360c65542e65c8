"""An object store on the loopback that speaks S3, for tests."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from pyarrow import fs

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "music"
_SETTINGS = "allow_bucket_creation=true&scheme=http&region=us-east-1&endpoint_override"


@contextlib.contextmanager
def object_store() -> Iterator[str]:
    """The address of a folder in a bucket of a new store; it contains the name and password of its user."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"s3://tester:secret@{BUCKET}/shared?{_SETTINGS}={host}:{port}"
        system, _ = fs.FileSystem.from_uri(address)
        system.create_dir(BUCKET)
        yield address
    finally:
        server.stop()
