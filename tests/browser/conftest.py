import pytest

from tests.browser import chromium


@pytest.fixture(scope="module", autouse=True)
def _end_of_browsers():
    yield
    chromium.end_idle()
