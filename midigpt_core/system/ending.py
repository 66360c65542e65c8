"""Ends this process by a signal. It imports little: it is loaded while the user waits for an answer to Ctrl-C."""

from __future__ import annotations

import ctypes
import os

from midigpt_core.system.c_library import c_function


def end_by(number: int) -> None:
    """End this process by a signal, from any thread, as if no handler were installed. Without the C library it ends
    with the exit code that a shell reports for the signal.

    Python itself lets only the main thread reset a handler.
    """
    reset = c_function("signal")
    if reset is None:
        os._exit(128 + number)
    reset(ctypes.c_int(number), ctypes.c_void_p(0))  # SIG_DFL
    os.kill(os.getpid(), number)
