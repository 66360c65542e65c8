"""The framework: stages, contracts and the plugin system. It imports no plugin.

This package exports only names that are cheap to import; import everything else from its module. Start reading at
:mod:`midigpt_core.hookspecs`. Importing it settles how torch's threads wait (:mod:`midigpt_core.openmp`).
"""

from midigpt_core.hookspecs import API_VERSION, hookimpl
from midigpt_core.openmp import settle_threads

__all__ = ["API_VERSION", "__version__", "hookimpl"]

__version__ = "0.1.0"

settle_threads()
