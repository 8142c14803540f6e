import pytest

from events.rules.compiler.rules import rule_source


@pytest.fixture(autouse=True)
def _segments_by_tag(settings):
    """Take the memberships of segments from tests.events.rules.world."""
    settings.RULE_SOURCES = {"segment": "tests.events.rules.world.membership"}
    rule_source.cache_clear()
    yield
    rule_source.cache_clear()
