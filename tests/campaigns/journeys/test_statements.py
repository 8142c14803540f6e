"""What campaigns say to the database is short, however many enrollments; what grows with the campaigns is
said once.
"""

import pytest
from django.db import connection

from campaigns.journeys.processor import process_due_enrollments
from campaigns.models import Message
from contacts.references import ContactReference
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import a_campaign, definition, marks, node, on_event, sends
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import a_contact

pytestmark = pytest.mark.django_db

CAMPAIGNS, PEOPLE = 45, 20
LONGEST = 4_000
# They hold events against the rules of all campaigns, so they grow with these, and are the same in each pass.
PREPARED = (
    "SELECT event_id, (%s::int[])[place] AS place FROM (",
    "SELECT event_id, place FROM (",
)


def test_only_what_the_connection_has_prepared_is_long(workspace, mailoutbox):
    for number in range(CAMPAIGNS):
        condition = {"field": "properties.amount", "operator": "gt", "value": number}
        steps = (
            [sends(workspace), node("wait", "wait", duration="1d")],
            [marks(), sends(workspace)],
            [node("await", "waitForEvent", eventType="paid", timeout="2d")],
        )[number % 3]
        goal = {"eventType": "buy", "within": "7d", "condition": condition}
        a_campaign(workspace, definition(*steps, trigger=on_event("go", condition), goal=goal))
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(PEOPLE)]

    texts = set()

    def note(execute, sql, *rest):
        texts.add(str(sql))
        return execute(sql, *rest)

    with connection.execute_wrapper(note):
        for _ in range(7):
            events = [
                IncomingEvent(name, ContactReference(id=str(person.id)), {"amount": amount})
                for person in people
                for name, amount in (("go", 20), ("buy", 5))
            ]
            record_events(workspace.id, events, schema_policy=SchemaPolicy.OPEN)
            texts.clear()
            apply_effects(workspace.id)
            process_due_enrollments(workspace.id, at_most_seconds=60)
            deliver_ready(workspace.id, "email", at_most=5)
    assert Message.objects.filter(status="SENT").exists()
    long = {text for text in texts if len(text) > LONGEST}
    unexpected = {text for text in long if not text.strip().startswith(PREPARED)}
    assert {text[:200]: len(text) for text in unexpected} == {}
    assert long
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        ready = [statement for (statement,) in cursor.fetchall()]
    for text in long:
        # The connection has it by name, and with its parameters numbered.
        start = text.split("%s")[0]
        assert any(
            statement.startswith(start) and len(statement) >= len(text) * 0.9 for statement in ready
        ), text
