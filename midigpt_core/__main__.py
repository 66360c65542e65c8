"""``python -m midigpt_core``: the ``midigpt`` command of this interpreter."""

import sys

from midigpt_core.cli import main

sys.exit(main())
