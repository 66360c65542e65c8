"""Upper bounds of figures on this machine: minimal loops in C, compiled when they are measured."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.records import Int64Array, UInt8Array

# sizeof(struct note), and the least bytes that start a note in a file.
_NOTE_BYTES, _LEAST_NOTE_BYTES = 16, 3


def event_loop(folder: Path, data: UInt8Array, offsets: Int64Array) -> Callable[[], int]:
    """A function that goes through the events of MIDI files and returns how many notes they have."""
    library = folder.resolve() / "event_loop.so"
    source = Path(__file__).with_name("event_loop.c")
    folder.mkdir(parents=True, exist_ok=True)
    # As the reader is compiled.
    subprocess.run([os.environ.get("CC", "cc"), "-O3", "-shared", "-fPIC", "-o", library, source], check=True)
    native = ctypes.CDLL(str(library)).event_loop
    native.restype = ctypes.c_int64
    native.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p]
    most_notes = int(np.diff(offsets).max()) // _LEAST_NOTE_BYTES + 1
    room = np.zeros(most_notes * _NOTE_BYTES, np.uint8)

    def run() -> int:
        return int(native(data.ctypes.data, offsets.ctypes.data, len(offsets) - 1, room.ctypes.data))

    return run
