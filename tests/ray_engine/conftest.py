"""One Ray cluster of two nodes for all tests: to start it takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.ray_cluster import ray_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ray.cluster_utils import Cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with ray_cluster(2) as cluster:
            yield cluster
