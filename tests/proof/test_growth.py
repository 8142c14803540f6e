"""What work costs grows as the rows do that it is about: twice as many cost no more than some twice as much."""

from datetime import timedelta
from functools import partial

import pytest
from django.db import connection

from campaigns.services.auditing import audit_workspace
from config import clock
from config.ids import uuid7
from contacts.models import Contact, ContactScore, Merge
from contacts.services import merge_contacts, undo_merge
from events.partitions import ensure_partitions
from events.services import IncomingEvent, SchemaPolicy, apply_effects, record_events
from scoring.models import ScoringRule
from scoring.services import save_rule, verify_contacts
from tests.contacts.factories import a_contact, by_email
from tests.plans import work_of
from tests.scale import TIMES
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db

EVENTS = 400
VERY_MANY = 7_000 * TIMES
"""In the whole proof more than a statement has room for as parameters."""


@pytest.fixture
def workspace():
    return Workspace.objects.create(name="Acme")


def scored(workspace, email, events):
    """Return a contact with events that two rules award, one of which also looks at the contact."""
    contact = a_contact(workspace, email)
    incoming = [IncomingEvent("buy", by_email(email), {"amount": 5}) for _ in range(events)]
    for start in range(0, events, 1000):
        record_events(workspace, incoming[start : start + 1000], schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)
    return contact


@pytest.fixture
def rules(workspace):
    amount = {"field": "metadata.amount", "operator": "gt", "value": 1}
    for place in range(2):
        rule = ScoringRule(workspace=workspace, name=f"rule {place}", event_name="buy", points=1)
        save_rule(rule, condition=amount if place else None)


def test_a_merge_and_its_undo_cost_what_the_scored_events_do(workspace, rules):
    merging, parting = [], []
    for number, events in enumerate((EVENTS, 2 * EVENTS)):
        survivor = scored(workspace, f"a{number}@example.test", events)
        merged = scored(workspace, f"b{number}@example.test", events)
        merging.append(work_of(partial(merge_contacts, workspace, survivor, merged)))
        assert ContactScore.objects.get(contact=survivor).points == 4 * events
        merge = Merge.objects.get(survivor=survivor)
        parting.append(work_of(partial(undo_merge, workspace, merge)))
        assert ContactScore.objects.get(contact=survivor).points == 2 * events
    # A small table may be read as a whole, by then with three times as many rows; by pairs it is eight times.
    for few, many in (merging, parting):
        assert many < 3.5 * few, (merging, parting)


def many_scored(workspace, contacts, events):
    """Give contacts so many events each, of each of which the one rule has made an entry."""
    rule = ScoringRule(workspace=workspace, name="rule", event_name="buy", points=1)
    save_rule(rule, condition=None)
    people = [a_contact(workspace, f"p{place}@example.test").id for place in range(contacts)]
    now = clock.now()
    ensure_partitions({now})
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH recorded AS ("
            " INSERT INTO events_event (id, workspace_id, contact_id, name, properties, context, occurred_at,"
            " received_at, source, message_id, depth)"
            " SELECT (left(%s, 14) || '7' || substr(noise, 1, 3) || '-8' || substr(noise, 4, 15))::uuid, %s, person,"
            " 'buy', '{}', '{}', %s, %s, 'api', '', 0"
            " FROM unnest(%s::uuid[]) AS person, generate_series(1, %s) AS n,"
            " LATERAL (SELECT md5(person::text || n)) AS drawn (noise)"
            " RETURNING id, contact_id)"
            " INSERT INTO scoring_scoreentry (id, workspace_id, contact_id, rule_id, event_id, points, occurred_at,"
            " created_at, is_superseded)"
            " SELECT gen_random_uuid(), %s, contact_id, %s, id, 1, %s, %s, false FROM recorded",
            [
                str(uuid7(now)),
                workspace.id,
                now,
                now,
                people,
                events,
                workspace.id,
                rule.id,
                now,
                now,
            ],
        )
        cursor.execute(
            "INSERT INTO contacts_contactscore (id, workspace_id, contact_id, points, updated_at)"
            " SELECT gen_random_uuid(), %s, person, %s, %s FROM unnest(%s::uuid[]) AS person",
            [workspace.id, events, now, people],
        )
    return people


@pytest.mark.django_db(transaction=True)
def test_ordinary_volume_is_verified_and_audited(workspace):
    people = many_scored(workspace, 100 * TIMES, 70)
    assert verify_contacts(workspace.id, people) == []
    gaps = []
    audit = audit_workspace(workspace.id, now=clock.now(), grace=timedelta(0), tell=gaps.append)
    assert audit.counts["contacts"] == len(people)
    assert [gap for gap in gaps if gap.check == "score"] == []


def test_contacts_with_very_many_scored_events_are_merged_and_parted(workspace):
    one, other = many_scored(workspace, 2, VERY_MANY)
    survivor, merged = (Contact.objects.get(id=contact_id) for contact_id in (one, other))
    merge = merge_contacts(workspace, survivor, merged)
    assert ContactScore.objects.get(contact=survivor).points == 2 * VERY_MANY
    undo_merge(workspace, merge)
    scores = dict(ContactScore.objects.values_list("contact_id", "points"))
    assert scores == {one: VERY_MANY, other: VERY_MANY}
