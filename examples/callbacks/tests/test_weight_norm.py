"""The checks of the kit; each is a test of its own."""

from midigpt_core.testing import parametrize_with_checks


@parametrize_with_checks("weight-norm")
def test_weight_norm(check):
    check()
