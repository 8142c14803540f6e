"""What a pass of the runner reads is about its events, whatever the planner knows of the workspace."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection

from campaigns.models import Enrollment
from config import clock
from contacts.references import ContactReference
from events.processing.passes import apply_effects
from events.stream.partitions import ensure_partitions
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from tests.campaigns.factories import a_campaign
from tests.contacts.factories import a_contact
from tests.plans import entries_read
from tests.segments.factories import VirtualClock, a_segment, did
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

MANY = 3_000
READ_AT_MOST = 1_000
NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)


@pytest.fixture
def time(monkeypatch):
    virtual = VirtualClock(NOW)
    monkeypatch.setattr(clock, "now", virtual.now)
    return virtual


# Of a table that was never analysed all guesses are alike; that lasts until autovacuum has been there, a minute.
@pytest.mark.parametrize("known", ["others", "all"])
def test_a_pass_reads_no_more_where_there_are_many_others(time, known):
    others = WorkspaceFactory()
    workspace = WorkspaceFactory()
    segments = {
        space.id: [
            a_segment(space, did("buy", timeWindow="10d")),
            a_segment(space, did("buy", operator="gte", value=2)),
        ]
        for space in (workspace, others)
    }
    for limit in (None, 5):
        save_rule(
            ScoringRule(
                workspace=workspace,
                name="buys",
                event_name="buy",
                points=1,
                limit_count=limit,
                limit_period="day" if limit else "",
            ),
            condition=None,
        )
    _fill(others.id, segments[others.id][0])
    if known == "others":
        _analyze()
    _fill(workspace.id, segments[workspace.id][0])
    if known == "all":
        _analyze()
    jane = a_contact(workspace, "jane@example.test")
    apply_effects(workspace.id)

    for read in (
        entries_read(lambda: _buy(workspace, jane)),
        entries_read(lambda: apply_effects(workspace.id)),
        entries_read(lambda: _lapse(workspace, time)),
    ):
        for statement, entries in read.items():
            assert entries.total() <= READ_AT_MOST, f"{entries} by {statement}"


@pytest.mark.parametrize("is_known", [False, True])
def test_who_enters_a_campaign_costs_no_look_at_the_runs_of_others(time, is_known):
    workspace = WorkspaceFactory()
    campaign = a_campaign(workspace)
    _run_statements(_RUNS, workspace=workspace.id, campaign=campaign.id, version=campaign.active_version_id)
    if is_known:
        _analyze()
    jane = a_contact(workspace, "jane@example.test")
    apply_effects(workspace.id)
    incoming = [IncomingEvent("go", ContactReference(id=str(jane.id))) for _ in range(3)]
    record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)

    read = entries_read(lambda: apply_effects(workspace.id))

    assert Enrollment.objects.filter(contact=jane).count() == 3
    for statement, entries in read.items():
        assert entries.total() <= READ_AT_MOST, f"{entries} by {statement}"


def _buy(workspace, contact):
    who = ContactReference(id=str(contact.id))
    events = [IncomingEvent("buy", who, {"amount": 1}) for _ in range(3)]
    record_events(workspace.id, events, schema_policy=SchemaPolicy.OPEN)


def _lapse(workspace, time):
    time.go(days=11)
    apply_effects(workspace.id)


def _fill(workspace_id: UUID, segment) -> None:
    """Have many contacts who bought, are in the segment for now, and have a score."""
    ensure_partitions({NOW})
    due = NOW + timedelta(days=300)
    _run_statements(_MANY, workspace=workspace_id, segment=segment.id, version=segment.version, due=due)


def _run_statements(statements, **values) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, {**values, "many": MANY, "now": NOW})


def _analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


_CONTACTS = (
    "INSERT INTO contacts_contact (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)"
    " SELECT gen_random_uuid(), %(workspace)s, 'Ada', '', '{}', %(now)s, %(now)s FROM generate_series(1, %(many)s)"
)
_RUNS = [
    _CONTACTS,
    "INSERT INTO campaigns_enrollment (id, workspace_id, campaign_id, version_id, contact_id, key, status, depth,"
    " triggered_at, step, listens_since, awaited_event, awaited_value, steps_taken,"
    " attempts, error, started_at, end_reason,"
    " is_test)"
    " SELECT gen_random_uuid(), %(workspace)s, %(campaign)s, %(version)s, id, 'once', 'completed', 0, %(now)s,"
    " '', %(now)s, '', '', 1, 0, '', %(now)s, 'end_of_workflow', false FROM contacts_contact"
    " WHERE workspace_id = %(workspace)s",
]
_MANY = [
    _CONTACTS,
    "INSERT INTO events_event (id, workspace_id, contact_id, name, properties, context, occurred_at, received_at,"
    " source, message_id, depth) SELECT (lpad(to_hex((extract(epoch FROM %(now)s::timestamptz) * 1000)::bigint), 12,"
    " '0') || '7' || substr(md5(c.id::text), 1, 3) || '8' || substr(md5(c.id::text), 4, 15))::uuid, %(workspace)s,"
    " c.id, 'buy', '{}', '{}', %(now)s, %(now)s, 'import', '', 0 FROM contacts_contact c"
    " WHERE c.workspace_id = %(workspace)s",
    "INSERT INTO segments_membership (id, workspace_id, segment_id, version, contact_id, since)"
    " SELECT gen_random_uuid(), %(workspace)s, %(segment)s, %(version)s, id, %(now)s FROM contacts_contact"
    " WHERE workspace_id = %(workspace)s",
    "INSERT INTO segments_membershipperiod (id, workspace_id, segment_id, contact_id, entered_at)"
    " SELECT gen_random_uuid(), %(workspace)s, %(segment)s, id, %(now)s FROM contacts_contact"
    " WHERE workspace_id = %(workspace)s",
    "INSERT INTO events_timer (id, workspace_id, timer_key, contact_id, lane, due_at)"
    " SELECT gen_random_uuid(), %(workspace)s, %(version)s, id, get_byte(uuid_send(id), 15) & 15, %(due)s"
    " FROM contacts_contact WHERE workspace_id = %(workspace)s",
    "INSERT INTO contacts_contactscore (id, workspace_id, contact_id, points, updated_at)"
    " SELECT gen_random_uuid(), %(workspace)s, id, 1, %(now)s FROM contacts_contact"
    " WHERE workspace_id = %(workspace)s",
]
