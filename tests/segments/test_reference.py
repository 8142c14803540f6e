"""The plain evaluator, which the verifications trust, agrees with the SQL on whatever can be said."""

from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.rules import parse_rule
from events.rules.compiler.rules import rule_source
from events.rules.reference import holds
from segments.reference_data import load_people
from tests.events.rules import strategies
from tests.events.rules.world import decide, stored_world
from tests.scale import scaled

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _segments_by_tags(settings):
    """Let who is in a segment be told by a tag, as the strategies' people have it."""
    settings.RULE_SOURCES = {"segment": "tests.events.rules.world.membership"}
    rule_source.cache_clear()
    yield
    rule_source.cache_clear()


@settings(
    max_examples=scaled(30, 100),
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    people=strategies.people,
    rules=st.lists(strategies.person_rules, min_size=1, max_size=3),
    at=strategies.moments(ahead=0),
    split=st.booleans(),
)
def test_the_reference_evaluator_agrees_with_the_sql(people, rules, at, split):
    read = [parse_rule(rule, types=strategies.MOMENTS) for rule in rules]
    names = {name for rule in read for name in rule.event_names}
    with stored_world(people, split=split) as (workspace, stored):
        decided = decide(workspace, read, [(one, at) for one in stored])
        loaded = load_people(workspace.id, [one.contact_id for one in stored], names)
    persons = {person.id: person for person in loaded}
    for one, decisions in zip(stored, decided, strict=True):
        person = persons[one.contact_id]
        for rule, decision in zip(read, decisions, strict=True):
            assert holds(rule.root, person, at, _tagged(person)) == decision.holds, (rule, person)


def _tagged(person):
    def is_member(segment_id: UUID) -> bool:
        return f"in {segment_id}" in person.tags

    return is_member
