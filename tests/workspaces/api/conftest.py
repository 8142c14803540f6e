import pytest


@pytest.fixture(autouse=True)
def _routes():
    """Leave the site's own routes, unlike the rest of these tests."""
