"""A run whose threads spin on a busy machine says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import torch

from midigpt_core.training.processes import threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads that spin, on two processors."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("load", "policy", "warns"), [(1.0, None, True), (0.2, None, False), (9.0, "passive", False)])
def test_a_busy_machine(
    load: float, policy: str | None, *, warns: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    threads.warn_of_spinning_threads()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warns
    assert warns == ("OMP_WAIT_POLICY=passive" in caplog.text)
