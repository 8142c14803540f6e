"""What campaigns read is about the runs that are due and the events at hand, however many runs there were."""

from uuid import UUID

import pytest
from django.db import connection

from campaigns.journeys.decisions import newest_decisions
from campaigns.journeys.lifecycle import execute_campaign
from campaigns.journeys.processor import process_due_enrollments
from campaigns.messaging.provider_reports import Report, record_report
from campaigns.models import Decision, Message
from config import clock
from events.processing.passes import apply_effects
from tests.campaigns.factories import a_campaign, definition, enrollments_of, node, on_event, sends
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import a_contact
from tests.plans import entries_read
from tests.segments.factories import send
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

MANY = 10_000
READ_AT_MOST = 1_000


@pytest.mark.parametrize("known", ["others", "all"])
def test_an_event_a_step_and_a_delivery_read_no_more_where_there_were_many(known):
    others, workspace = WorkspaceFactory(), WorkspaceFactory()
    campaigns = {space.id: _a_campaign(space) for space in (others, workspace)}
    _fill(others.id, campaigns[others.id])
    if known == "others":
        _analyze()
    _fill(workspace.id, campaigns[workspace.id])
    if known == "all":
        _analyze()
    jane = a_contact(workspace, "jane@example.test")
    apply_effects(workspace.id)

    steps = (
        lambda: send(workspace, jane, "go", "bought", order="A"),
        lambda: apply_effects(workspace.id),
        lambda: process_due_enrollments(workspace.id, at_most_seconds=60),
        lambda: apply_effects(workspace.id),
        lambda: deliver_ready(workspace.id, "email"),
        lambda: execute_campaign(workspace.id, campaigns[workspace.id], jane, key="B"),
        lambda: process_due_enrollments(workspace.id, at_most_seconds=60),
    )
    for place, step in enumerate(steps):
        for statement, entries in entries_read(step).items():
            assert entries.total() <= READ_AT_MOST, f"step {place}: {entries} by {statement}"
    assert sorted(run.status for run in enrollments_of(campaigns[workspace.id], jane)) == [
        "converted",
        "open",
    ]


def test_looks_by_campaign_and_by_provider_read_what_they_are_for():
    workspace = WorkspaceFactory()
    campaign = _a_campaign(workspace)
    _fill(workspace.id, campaign)
    Message.objects.filter(pk=Message.objects.first().pk).update(provider_id="theirs")
    _analyze()
    looks = (
        lambda: newest_decisions(campaign, Decision.objects.in_workspace(workspace.id), 20),
        lambda: record_report(Report(kind="delivered", at=clock.now(), provider_id="theirs")),
        lambda: record_report(Report(kind="delivered", at=clock.now(), provider_id="nobody's")),
    )
    for look in looks:
        for statement, entries in entries_read(look).items():
            assert entries.total() <= READ_AT_MOST, f"{entries} by {statement}"
    assert Message.objects.get(provider_id="theirs").status == "DELIVERED"


def _a_campaign(workspace):
    steps = [sends(workspace), node("wait", "wait", duration="30d")]
    goal = {"eventType": "bought", "within": "1d"}
    again = {"mode": "key", "property": "order"}
    return a_campaign(workspace, definition(*steps, trigger=on_event("go"), goal=goal, reentry=again))


def _fill(workspace_id: UUID, campaign) -> None:
    """Have many contacts who wait in the campaign, each with a message and its decisions."""
    values = {"workspace": workspace_id, "campaign": campaign.id, "version": campaign.active_version_id}
    with connection.cursor() as cursor:
        for statement in _MANY:
            cursor.execute(statement, {**values, "many": MANY, "now": clock.now()})


def _analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


_MANY = [
    "INSERT INTO contacts_contact (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)"
    " SELECT gen_random_uuid(), %(workspace)s, 'Ada', '', '{}', %(now)s, %(now)s FROM generate_series(1, %(many)s)",
    "INSERT INTO campaigns_enrollment (id, workspace_id, campaign_id, version_id, contact_id, key, status, depth,"
    " triggered_at, step, wake_at, listens_since, awaited_event, awaited_value,"
    " steps_taken, attempts, error, started_at,"
    " end_reason, is_test)"
    " SELECT gen_random_uuid(), %(workspace)s, %(campaign)s, %(version)s, id, 'key:' || id, 'open', 0, %(now)s,"
    " 'wait', %(now)s::timestamptz + interval '30 days', %(now)s, '', '', 2, 0, '', %(now)s, '', false"
    " FROM contacts_contact WHERE workspace_id = %(workspace)s",
    "INSERT INTO campaigns_decision (id, workspace_id, campaign_id, contact_id,"
    " enrollment_id, kind, reason, step, detail,"
    " decided_at) SELECT gen_random_uuid(), workspace_id, campaign_id, contact_id, id, 'entered', '', '', '{}',"
    " %(now)s FROM campaigns_enrollment WHERE workspace_id = %(workspace)s",
    "INSERT INTO campaigns_message (id, workspace_id, campaign_id, contact_id,"
    " enrollment_id, key, channel, address, host,"
    " subject, body, text, headers, status, priority, is_transactional, is_test, attempts, error, provider_id, step,"
    " send_at, created_at, sent_at)"
    " SELECT gen_random_uuid(), workspace_id, campaign_id, contact_id, id, id::text, 'email', id || '@b.test', '',"
    " 'Hello', '', '', '{}', 'SENT', 0, true, false, 1, '', '', 'send', %(now)s, %(now)s, %(now)s"
    " FROM campaigns_enrollment WHERE workspace_id = %(workspace)s",
]
