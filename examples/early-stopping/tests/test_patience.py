"""The checks of the kit; each is a test of its own."""

from midigpt_core.testing import parametrize_with_checks


@parametrize_with_checks("patience")
def test_patience(check):
    check()
