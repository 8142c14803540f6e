import pytest

from events.rules import compiling


@pytest.fixture(autouse=True)
def _segments_by_tag(settings):
    """Take the memberships of segments from tests.rules.world."""
    settings.RULE_SOURCES = {"segment": "tests.rules.world.membership"}
    compiling._rule_source.cache_clear()
    yield
    compiling._rule_source.cache_clear()
