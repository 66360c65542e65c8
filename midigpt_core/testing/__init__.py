"""The kit for plugin authors: the checks that bundled plugins pass.

In a test file of the plugin's own::

    from midigpt_core.testing import parametrize_with_checks

    @parametrize_with_checks("acme")
    def test_acme(check):
        check()

``kit`` collects the checks. ``general`` has the checks for every plugin, and each kind of component has its own module.
"""

from __future__ import annotations

from midigpt_core.testing.kit import Check, checks_of, parametrize_with_checks

__all__ = ["Check", "checks_of", "parametrize_with_checks"]
