"""What is known of the machine, and limited, with and without the system's help."""

from __future__ import annotations

import os
import resource
import sys

import pytest

from midigpt_core.cores import available_cores
from midigpt_core.system import control_groups, limits, machine, shared_file
from midigpt_core.system.capabilities import without
from midigpt_core.training.planning import host_memory


def test_without_the_machines_numbers_nothing_is_refused() -> None:
    with without("machine", "rlimit", "proc"):
        assert host_memory.host_memory() == sys.maxsize
        host_memory.require_rows_fit(max_seq_len=1 << 20, max_tracks=1 << 10, batch_size=1 << 20)
        assert machine.free_shared_memory() is None
        assert machine.load_average() == 0
        assert machine.affinity() == os.cpu_count()
        assert available_cores() >= 1
        assert list(control_groups.folders("cpu")) == []
        assert list(limits.memory_limits()) == []


def test_memory_without_its_swap() -> None:
    whole = machine.memory_and_swap()
    with without("proc"):
        memory = machine.memory_and_swap()
    assert memory is not None
    assert whole is not None
    assert 1 << 28 < memory <= whole


@pytest.mark.parametrize("names", [("rlimit",), ("proc",)])
def test_without_limits_memory_is_not_limited(names: tuple[str, ...]) -> None:
    assert limits.can_limit_memory()
    before = resource.getrlimit(resource.RLIMIT_AS)
    with without(*names):
        assert not limits.can_limit_memory()
        limits.limit_memory(1)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_without_limits_the_open_files_stay_as_they_are() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        with without("rlimit"):
            limits.allow_open(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (200, hard)
        limits.allow_open(100)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(356, hard) if hard > 0 else 356, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("names", [(), ("memfd",)])
def test_a_shared_file_has_no_name_and_a_sealed_one_cannot_be_cut(names: tuple[str, ...]) -> None:
    with without(*names):
        handle = shared_file.open_shared_file("midigpt-test")
    try:
        assert os.fstat(handle).st_nlink == 0
        os.ftruncate(handle, 100)
        if names:
            os.ftruncate(handle, 0)
        else:
            with pytest.raises(PermissionError):
                os.ftruncate(handle, 0)
    finally:
        os.close(handle)
