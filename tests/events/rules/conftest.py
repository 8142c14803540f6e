import pytest

from events.rules import compiler


@pytest.fixture(autouse=True)
def _segments_by_tag(settings):
    """Take the memberships of segments from tests.events.rules.world."""
    settings.RULE_SOURCES = {"segment": "tests.events.rules.world.membership"}
    compiler._rule_source.cache_clear()
    yield
    compiler._rule_source.cache_clear()
