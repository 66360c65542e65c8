"""Names of distributions and plugins, as they are compared."""

from __future__ import annotations

import re

#: The distribution whose plugins are the bundled ones.
CORE_DISTRIBUTION = "midigpt-core"


def normalise(name: str) -> str:
    """A plugin's or distribution's name in the form in which names are compared (that of packaging, PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
