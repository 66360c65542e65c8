"""Names the plugin in whose code an exception was raised, for code that other libraries call: models, optimisers,
loggers, callbacks."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core.errors import ComponentError, MidigptError
from midigpt_core.plugins.registry import current_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from midigpt_core.components import ComponentRef

#: Texts of torch's allocators, which raise a RuntimeError.
_OUT_OF_MEMORY = ("out of memory", "not enough memory", "DefaultCPUAllocator")


@contextmanager
def faults_named(
    components: Iterable[ComponentRef], where: Callable[[], str], *, system: bool = True
) -> Iterator[None]:
    """Turn an exception that was raised in a plugin's code, or below it, into a :class:`ComponentError`.

    The traceback shows whose code it was: that of one of ``components``, or another plugin's, such as a callback. The
    innermost counts. ``where()`` says in the message when it happened. An exception of midigpt-core itself, a
    :class:`MidigptError` and an error for lack of memory stay as they are; with ``system`` False, an OSError too.
    """
    try:
        yield
    except (MidigptError, ComponentError):
        raise
    except Exception as error:
        is_system = _is_memory(error) or (isinstance(error, OSError) and not system)
        part = None if is_system else _plugin_of(error, list(components))
        if part is None:
            raise
        raise ComponentError(part, where(), error) from error


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def _plugin_of(error: Exception, components: list[ComponentRef]) -> str | None:
    """The component, or the plugin, in whose modules ``error`` was raised; None: in none."""
    entries = current_registry().in_use
    bundled = {entry.distribution for entry in entries if entry.is_bundled}
    parts = [(ref.target.partition(":")[0], str(ref)) for ref in components if ref.distribution not in bundled]
    plugins = [(entry.module, str(entry)) for entry in entries if not entry.is_bundled]
    by_module = dict([*plugins, *parts])
    by_package: dict[str, str] = {}
    for module, name in [*parts, *plugins]:
        by_package.setdefault(module.partition(".")[0], name)
    # A plugin of a folder can have modules with any name in it.
    by_folder = {entry.folder: f"a plugin of {entry.folder}" for entry in entries if entry.folder is not None}
    for module, file in _frames(error):
        if found := by_module.get(module) or by_package.get(module.partition(".")[0]):
            return found
        for folder, name in by_folder.items():
            if file.is_relative_to(folder):
                return name
    return None


def _frames(error: Exception) -> list[tuple[str, Path]]:
    """Module and file of each frame, from where ``error`` was raised to where it was caught."""
    found, step = [], error.__traceback__
    while step is not None:
        frame = step.tb_frame
        found.append((str(frame.f_globals.get("__name__", "")), Path(frame.f_code.co_filename)))
        step = step.tb_next
    return found[::-1]
