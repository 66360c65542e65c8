"""The libraries of the extra ``audio``: loads them, or says what to install.

pyfluidsynth binds the system's library FluidSynth, the reference player of SoundFont banks. Players that are wheels of
their own either need PortAudio and a compiler to be installed, or ignore controllers such as the pedal. soundfile has
libsndfile in its wheels, which encodes OGG Vorbis and WAV.
"""

from __future__ import annotations

import contextlib
import io
from ctypes import c_char_p, c_int, c_size_t, c_void_p
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

#: Module -> the package that has it.
_PACKAGES = {"fluidsynth": "pyfluidsynth", "soundfile": "soundfile"}
#: FluidSynth's levels of messages, from panic to debug.
_LOG_LEVELS = range(5)


@frozen(eq=False, kw_only=True)
class AudioLibraries:
    """The two modules, and functions of FluidSynth that pyfluidsynth does not name."""

    fluidsynth: ModuleType
    soundfile: ModuleType
    #: ``(player, content, length)``: add a MIDI file, of which the player keeps a copy; 0 if that worked.
    add_content: Callable[[Any, bytes, int], int]
    #: ``(player)``: the tick that is played, and the tick at which the longest track ends; 0 before the first frames.
    current_tick: Callable[[Any], int]
    total_ticks: Callable[[Any], int]
    #: ``(synth, frames, left, offset, step, right, offset, step)``: write the next frames as float32.
    write_float: Callable[[Any, int, int, int, int, int, int, int], int]


@cache
def audio_libraries() -> AudioLibraries:
    """Load the libraries. Raises :class:`ConfigError` that says what to install if one of them is missing."""
    missing = [package for module, package in _PACKAGES.items() if find_spec(module) is None]
    if missing:
        several = len(missing) > 1
        raise ConfigError(
            f"audio needs the package{'s' if several else ''} {' and '.join(map(repr, missing))}, which "
            f"{'are' if several else 'is'} not installed. Install the extra with: pip install 'midigpt-core[audio]'"
        )
    try:
        soundfile = import_module("soundfile")
        # With CI in the environment the module prints where it found the library.
        with contextlib.redirect_stdout(io.StringIO()):
            fluidsynth = import_module("fluidsynth")
    except (ImportError, OSError) as error:
        raise ConfigError(
            f"audio needs the library FluidSynth, which cannot be loaded ({' '.join(str(error).split()).rstrip('.')}). "
            "Install it with: apt install libfluidsynth3 (Debian, Ubuntu) or brew install fluid-synth (macOS)"
        ) from error
    _silence(fluidsynth)
    return AudioLibraries(
        fluidsynth=fluidsynth,
        soundfile=soundfile,
        add_content=_function(fluidsynth, "fluid_player_add_mem", c_void_p, c_char_p, c_size_t),
        current_tick=_function(fluidsynth, "fluid_player_get_current_tick", c_void_p),
        total_ticks=_function(fluidsynth, "fluid_player_get_total_ticks", c_void_p),
        write_float=_function(
            fluidsynth, "fluid_synth_write_float", c_void_p, c_int, c_void_p, c_int, c_int, c_void_p, c_int, c_int
        ),
    )


def _silence(fluidsynth: ModuleType) -> None:
    """Stop FluidSynth from writing messages to standard error: errors are raised here, and warnings are about banks."""
    set_function = _function(fluidsynth, "fluid_set_log_function", c_int, c_void_p, c_void_p, result=c_void_p)
    for level in _LOG_LEVELS:
        set_function(level, None, None)


def _function(fluidsynth: ModuleType, name: str, *arguments: Any, result: Any = c_int) -> Any:
    return fluidsynth.cfunc(name, result, *((f"argument{index}", kind, 1) for index, kind in enumerate(arguments)))
