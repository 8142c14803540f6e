"""`audit_effects` finds nothing missing where nothing is, and names each thing that was taken away."""

from collections import Counter
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command

from campaigns.models import Campaign, Decision, Enrollment, Message
from campaigns.reporting import audit as auditing
from campaigns.reporting.audit import check_consistency
from config import clock, ids
from contacts.erasure import erasures
from contacts.erasure.erasures import ERASURES, erase_person
from contacts.merging.merges import merge_contacts
from contacts.models import ContactScore
from events.models import Event, EventBatch, MessageKey, ParkedEffect
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from segments.models import Membership
from tests.campaigns.factories import a_campaign, definition, marks, node, sends, work
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import a_contact, by_email
from tests.native import NativeClient
from tests.segments.factories import a_segment, did
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
LATER = timedelta(minutes=10)


@pytest.fixture
def house():
    """A workspace in which everything has followed from everything."""
    workspace = WorkspaceFactory.create()
    ScoringRule.objects.create(workspace=workspace, name="Go", event_name="go", points=1)
    a_segment(workspace, did("go"))
    # Its versions hold for what comes; what came in the same instant is not looked at.
    campaign = a_campaign(
        workspace, definition(sends(workspace), marks(), node("rest", "wait", duration="2d"))
    )
    long_ago = clock.now() - LATER
    campaign.versions.update(created_at=long_ago)
    Campaign.objects.update(activated_at=long_ago)
    client = NativeClient(workspace)
    joe = a_contact(workspace, "joe@example.test")
    client.post("events", {"type": "go", "contactId": str(joe.id)}, HTTP_IDEMPOTENCY_KEY="1")
    client.post("contacts", {"email": "kim@example.test"}, HTTP_IDEMPOTENCY_KEY="2")
    incoming = [IncomingEvent("go", by_email(f"p{n}@example.test"), message_id=f"m{n}") for n in range(3)]
    record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)
    work(workspace)
    deliver_ready(workspace.id, "email")
    work(workspace)
    return workspace


def audit(workspace, *, now=None, **more):
    """Return what was counted, and the gaps."""
    inconsistencies = []
    found = check_consistency(
        workspace.id,
        now=now or clock.now() + LATER,
        grace=timedelta(minutes=1),
        report=inconsistencies.append,
        **more,
    )
    assert found.inconsistencies == len(inconsistencies)
    return found.counts, inconsistencies


def inconsistencies(workspace, **more):
    return audit(workspace, **more)[1]


def checks(workspace, **more):
    return {gap.check for gap in inconsistencies(workspace, **more)}


def test_nothing_is_missing_where_all_has_followed(house, capsys):
    counts, found = audit(house)

    assert found == []
    expected = {"accepted": 1, "message keys": 3, "enrollments": 4, "messages sent": 4, "segments": 1}
    assert {name: counts[name] for name in expected} == expected
    assert counts["stored"] == Event.objects.count()
    call_command("audit_effects", workspace=str(house.id))
    assert "0 gaps" in capsys.readouterr().out


def _lost_event(house):
    event = Event.objects.filter(name="go").earliest("received_at", "id")
    Event.objects.filter(pk=event.pk).delete()


def _lost_key(house):
    MessageKey.objects.filter(key="m1").update(event_id=ids.uuid7())


def _open_batch(house):
    EventBatch.objects.create(workspace=house, lane=0, event_ids=[ids.uuid7()])


def _parked(house):
    ParkedEffect.objects.create(workspace=house, effect="x", subject="rule:1", event_ids=[], error="E: x")


def _lost_decision(house):
    Decision.objects.filter(kind="entered").first().delete()


def _lost_enrollment(house):
    Enrollment.objects.first().delete()


def _stuck_enrollment(house):
    Enrollment.objects.update(wake_at=clock.now())


def _idle_enrollment(house):
    Enrollment.objects.update(wake_at=None)


def _unsent(house):
    Message.objects.update(status="QUEUED")


def _unsettled(house):
    Message.objects.update(status="SENDING", claimed_at=clock.now() - timedelta(hours=1))


def _untold(house):
    Event.objects.filter(name="message.sent").delete()


def _told_twice(house):
    event = Event.objects.filter(name="message.sent").first()
    event.pk = ids.uuid7()
    Event.objects.bulk_create([event])


def _wrong_score(house):
    ContactScore.objects.update(points=7)


def _lost_member(house):
    Membership.objects.all().delete()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (_lost_event, "accepted, not stored"),
        (_lost_key, "message key, not stored"),
        (_open_batch, "effects overdue"),
        (_parked, "parked"),
        (_lost_decision, "event without decision"),
        (_lost_decision, "enrollment without decision"),
        (_lost_enrollment, "decision without enrollment"),
        (_lost_enrollment, "message without enrollment"),
        (_stuck_enrollment, "stuck"),
        (_idle_enrollment, "stuck"),
        (_unsent, "not sent"),
        (_unsettled, "claim expired"),
        (_untold, "sent without one event"),
        (_told_twice, "sent without one event"),
        (_wrong_score, "score"),
        (_lost_member, "membership"),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_each_gap_is_named(house, damage, expected):
    damage(house)
    assert expected in checks(house)


def test_a_clients_own_list_counts_too(house, tmp_path, capsys):
    event_ids = list(Event.objects.filter(name="go").values_list("id", flat=True))
    assert checks(house, accepted=event_ids) == set()
    lost = ids.uuid7()
    told = tmp_path / "told"
    told.write_text("\n".join(map(str, [*event_ids, lost])))

    with pytest.raises(CommandError):
        call_command("audit_effects", workspace=str(house.id), accepted=str(told))

    assert f"accepted, not stored: {lost}" in capsys.readouterr().out


def test_an_erased_person_leaves_no_gap(house):
    erase_person(house.id, Enrollment.objects.first().contact)
    work(house)
    assert inconsistencies(house) == []


def test_a_person_who_is_being_erased_is_passed_over(house, monkeypatch):
    monkeypatch.setattr(erasures, "BATCH_ROWS", 1)
    chosen = Enrollment.objects.first().contact
    erase_person(house.id, chosen, at_most_seconds=0)
    while ERASURES.run_all(at_most_seconds=0) == "more":
        assert inconsistencies(house) == []
    assert inconsistencies(house) == []


def test_more_than_is_read_at_once_is_looked_at(house, monkeypatch):
    monkeypatch.setattr(auditing, "_BATCH_SIZE", 1)
    assert inconsistencies(house) == []
    Event.objects.filter(name="go").delete()
    Decision.objects.filter(kind="entered").delete()
    found = Counter(gap.check for gap in inconsistencies(house))
    assert found["accepted, not stored"] == 1
    assert found["message key, not stored"] == 3
    assert found["enrollment without decision"] == 4


def test_a_merge_leaves_no_gap():
    workspace = WorkspaceFactory.create()
    segment = a_segment(workspace, did("go"))
    leaving = {"type": "SEGMENT_EXIT", "segmentId": str(segment.id)}
    campaign = a_campaign(workspace, definition(trigger=leaving))
    campaign.versions.update(created_at=clock.now() - LATER)
    Campaign.objects.update(activated_at=clock.now() - LATER)
    people = [a_contact(workspace, f"p{n}@example.test") for n in range(2)]
    incoming = [IncomingEvent("go", by_email(one.email)) for one in people]
    record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)
    work(workspace)
    merge_contacts(workspace.id, *people)
    work(workspace)

    assert Event.objects.filter(name="segment.exited").exists()
    assert inconsistencies(workspace) == []


def test_what_is_under_way_is_no_gap():
    workspace = WorkspaceFactory.create()
    a_campaign(workspace)
    record_events(
        workspace.id, [IncomingEvent("go", by_email("p@example.test"))], schema_policy=SchemaPolicy.OPEN
    )
    assert inconsistencies(workspace, now=clock.now()) == []
    assert checks(workspace) == {"effects overdue"}
