"""What processes set up for themselves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Blocks of 8 MB, freed in turns with a small one that stays after each, as a server's threads do it.
_SCRIPT = """
import sys
import numpy as np
from midigpt_core.system.processes import return_large_blocks

def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) << 10

if sys.argv[1] == "yes":
    return_large_blocks()
for _ in range(2):
    before = resident()
    blocks, kept = [], []
    for _ in range(20):
        blocks.append(np.ones(8 << 20, np.uint8))
        kept.append(bytearray(100_000))
    blocks.clear()
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
@pytest.mark.parametrize(("returned", "least", "most"), [("yes", -(1 << 40), 16 << 20), ("no", 100 << 20, 1 << 40)])
def test_large_blocks_go_back_to_the_system(returned: str, least: int, most: int) -> None:
    """Without it they stay, or nothing here is proven."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, returned], check=True, capture_output=True, text=True, env=environment
    )
    assert least < int(done.stdout) < most
