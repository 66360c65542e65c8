"""A Ray cluster on the loopback, for tests."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

# Ray reads them when it is imported. Its processes talk to one another over the loopback, and have no lower priority.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - so named

from ray.cluster_utils import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

_ATTEMPTS = 3


@contextlib.contextmanager
def ray_cluster(nodes: int) -> Iterator[Cluster]:
    """A head without a processor, and nodes with one each."""
    cluster = Cluster()
    try:
        add_node(cluster, num_cpus=0, include_dashboard=False)
        for _ in range(nodes):
            add_node(cluster, num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def add_node(cluster: Cluster, **settings: Any) -> None:
    """Ray gives a node 30 seconds to start, which is too little on a busy machine."""
    for attempt in range(_ATTEMPTS):
        try:
            cluster.add_node(node_ip_address="127.0.0.1", **settings)
        except Exception as error:
            if "timed out during startup" not in str(error) or attempt + 1 == _ATTEMPTS:
                raise
        else:
            return
