"""Checks for every plugin and for every component of any kind."""

from __future__ import annotations

import contextlib
import json
import pickle
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.errors import ConfigError
from midigpt_core.hookspecs import API_VERSION
from midigpt_core.kinds import Kind
from midigpt_core.plugins.building import build, structure_options
from midigpt_core.plugins.discovery import source_file, stated_api
from midigpt_core.plugins.names import normalise
from midigpt_core.plugins.registry import current_registry, use_registry
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.components import ComponentRef, ComponentSpec
    from midigpt_core.plugins.discovery import PluginEntry
    from midigpt_core.plugins.registry import Registry

#: Packages that a plugin module must not import, because every lookup of a component of its kind imports it.
HEAVY = ("torch", "lightning", "transformers", "pyarrow", "numpy")
#: Kinds of components that data workers build; the others stay in the main process.
IN_WORKERS = (Kind.ENCODER, Kind.MASK)

_IMPORT = """
import importlib, json, sys
sys.path += json.loads(sys.argv[2])
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(json.loads(sys.argv[3])) & set(sys.modules))))
"""

_RESOLVE = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from midigpt_core.kinds import Kind
from midigpt_core.plugins.building import structure_options
from midigpt_core.plugins.targets import import_target
for ref in pickle.load(sys.stdin.buffer):
    import_target(ref.target, ref.import_paths)
    structure_options(ref)
"""

_ENCODE = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
import numpy as np
from midigpt_core.contracts import EncoderContext
from midigpt_core.plugins.building import build
from midigpt_core.testing import music
encoder = build(pickle.load(sys.stdin.buffer), EncoderContext())
for infill in (False, True)[: 1 + ("infill" in encoder.provides)]:
    windows = music.windows((0, 1), int(sys.argv[1]), infill=infill)
    print(encoder.encode_batch(music.corpus(), windows, np.zeros(2, np.int32)).tokens.astype(np.int32).tobytes().hex())
"""


@frozen
class Subject:
    """A component under test."""

    spec: ComponentSpec
    ref: ComponentRef
    registry: Registry
    #: Paths that a data source can read.
    paths: tuple[str, ...]

    def build(self, context: Any) -> Any:
        return build(self.ref, context)


@contextlib.contextmanager
def process_registry(registry: Registry) -> Iterator[None]:
    """Make ``registry`` the registry of this process, for code that looks names up there."""
    before = current_registry()
    use_registry(registry)
    try:
        yield
    finally:
        use_registry(before)


def plugin_imports_nothing_heavy(entry: PluginEntry) -> None:
    loaded = imported_by(entry.module, HEAVY, [entry.folder] if entry.folder else [])
    assert not loaded, f"{entry.module} imports {', '.join(loaded)}; import them in the component's own module instead"


def imported_by(module: str, names: Sequence[str], import_paths: Sequence[str]) -> list[str]:
    """Which of ``names`` a new process has loaded after it imported ``module``."""
    done = _python(_IMPORT, module, json.dumps(list(import_paths)), json.dumps(list(names)))
    loaded: list[str] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def plugin_states_its_api(entry: PluginEntry) -> None:
    stated = stated_api(source_file(entry.module, entry.folder))
    assert stated == API_VERSION, f"{entry.module} must state MIDIGPT_API = {API_VERSION} in a line of its own"


def plugin_is_named_after_its_distribution(entry: PluginEntry) -> None:
    expected = normalise(entry.distribution).removeprefix("midigpt-plugin-")
    if not entry.is_bundled and entry.folder is None and normalise(entry.name) != expected:
        warnings.warn(f"{entry} would be easier to find if it were named {expected!r}", stacklevel=1)


def references_survive_spawn(refs: Sequence[ComponentRef]) -> None:
    """References can be pickled, and a data worker resolves them without a search for plugins."""
    assert pickle.loads(pickle.dumps(list(refs))) == list(refs)
    needed = [ref for ref in refs if ref.kind in IN_WORKERS]
    if needed:
        _python(_RESOLVE, stdin=pickle.dumps(sys.path) + pickle.dumps(needed))


def encoded_elsewhere(ref: ComponentRef, num_bars: int) -> list[bytes]:
    """The tokens, as int32, that another process writes for the first bars of the kit's pieces.

    Without infill and, if the encoder provides it, with.
    """
    done = _python(_ENCODE, str(num_bars), stdin=pickle.dumps(sys.path) + pickle.dumps(ref))
    return [bytes.fromhex(line.decode()) for line in done.stdout.split()]


def component_target_resolves(subject: Subject) -> None:
    target = import_target(subject.spec.target, subject.ref.import_paths)
    assert callable(target), f"{subject.spec.target} is not callable"


def component_options_need_no_values(subject: Subject) -> None:
    assert (structure_options(attrs.evolve(subject.ref, options={})) is None) == (subject.spec.options is None)


def component_refuses_an_unknown_option(subject: Subject) -> None:
    names = _option_names(subject)
    unknown = f"{names[0]}x" if names else "unknown"
    try:
        structure_options(attrs.evolve(subject.ref, options={unknown: 1}))
    except ConfigError as error:
        assert unknown in str(error)
        assert not names or "Did you mean" in str(error), f"no suggestion in: {error}"
    else:
        raise AssertionError(f"option {unknown!r} was accepted")


def _option_names(subject: Subject) -> list[str]:
    if subject.spec.options is None:
        return []
    options_class = import_target(subject.spec.options, subject.ref.import_paths)
    return [field.alias for field in attrs.fields(options_class) if field.init]


def _python(code: str, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([sys.executable, "-c", code, *arguments], input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done
