"""A campaign that ran over live traffic, rehearsed over the same period, comes to the same."""

import itertools
import random
from collections import deque
from datetime import UTC, datetime, timedelta
from operator import itemgetter

import pytest

from campaigns.journeys.processor import process_batch
from campaigns.models import Enrollment, Message, Rehearsal
from campaigns.rehearsal.rehearsals import order_rehearsal, run_rehearsal
from config import clock
from contacts.models import Consent
from contacts.references import ContactChanges, ContactReference
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import a_campaign, definition, node, on_event
from tests.campaigns.messages import a_template, deliver_ready, use_channel
from tests.scale import scaled
from tests.scoring.factories import a_rule
from tests.segments.factories import attribute, did
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
BEGIN = datetime(2026, 3, 2, 6, tzinfo=UTC)
SEEDS = range(scaled(2, 10))


def a_workspace():
    with clock.virtual(BEGIN - timedelta(days=1)):
        workspace = WorkspaceFactory()
        use_channel(workspace, "email", cap_count=2, cap_hours=24, quiet_from="20:00", quiet_until="07:00")
        a_rule(workspace, "view", 5)
    return workspace


def a_journey(workspace):
    mail, other = (
        a_template(workspace, f"<p>{name} {{{{ contact.score }}}}</p>") for name in ("one", "other")
    )
    return definition(
        node("first", "send", channel="email", templateId=str(mail.id)),
        node("pause", "wait", duration="3h"),
        node("await", "waitForEvent", eventType="view", timeout="5h"),
        node(
            "choose",
            "branch",
            branches=[
                {"handle": "hot", "condition": attribute("score", "gte", 15)},
                {"handle": "gold", "condition": attribute("attributes.plan", "eq", "gold")},
                {"handle": "active", "condition": did("view", operator="gte", value=3, timeWindow="2d")},
            ],
        ),
        node("arms", "split", arms=[{"handle": "a", "weight": 40}, {"handle": "b", "weight": 40}]),
        node("mark", "update", attributes={"plan": "platinum"}),
        node("second", "send", channel="email", templateId=str(other.id)),
        edges=[
            ("first", "pause"),
            ("pause", "await"),
            ("await", "choose", "event"),
            ("await", "second", "timeout"),
            ("choose", "arms", "hot"),
            ("choose", "mark", "gold"),
            ("choose", "second", "active"),
            ("choose", "second", "else"),
            ("arms", "second", "a"),
            ("mark", "second"),
        ],
        trigger=on_event("signup"),
        reentry={"mode": "interval", "days": 1},
        goal={"eventType": "buy", "within": "2d"},
        exits=[{"condition": attribute("attributes.plan", "eq", "none")}],
    )


def traffic(draw, people, days):
    """Return moments and events, as they came."""
    events = []
    for _ in range(people * 8):
        at = BEGIN + timedelta(seconds=draw.randrange(int(days * 86_400)), milliseconds=draw.randrange(1_000))
        who = f"p{draw.randrange(people)}@example.test"
        name = draw.choices(["signup", "view", "buy", "other"], [3, 5, 1, 1])[0]
        attributes = {"plan": draw.choice(["gold", "free", "none"])} if draw.random() < 0.2 else {}
        consents = {"email": draw.choice(list(Consent.Status))} if draw.random() < 0.1 else {}
        events.append((at, who, name, attributes, consents))
    return sorted(events, key=itemgetter(0))


def record(workspace, who, name, attributes, consents):
    reference = ContactReference(
        identifiers=(("email", who),),
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(attributes=attributes, consents=consents),
    )
    record_events(workspace.id, [IncomingEvent(name, reference)], schema_policy=SchemaPolicy.OPEN)


def live(workspace, events, until):
    """Let the events come in and the workers work, on a clock that jumps to what is next."""
    waiting = deque(events)
    while True:
        due = Enrollment.objects.filter(workspace=workspace, status="open").values_list("wake_at", flat=True)
        queued = Message.objects.filter(workspace=workspace, status="QUEUED").values_list(
            "send_at", flat=True
        )
        moments = [*filter(None, due), *queued, *(event[0] for event in itertools.islice(waiting, 1))]
        if not moments or (now := min(moments)) >= until:
            return
        with clock.virtual(now):
            while waiting and waiting[0][0] <= now:
                record(workspace, *waiting.popleft()[1:])
            busy = True
            while busy:
                busy = apply_effects(workspace.id) == "done"
                while process_batch(workspace.id):
                    busy = True
                busy = deliver_ready(workspace.id, "email") > 0 or busy


def told_live(campaign):
    """Return who entered when, how it ended, and which messages became what when."""
    messages = {}
    for message in Message.objects.filter(campaign=campaign).order_by("created_at", "id"):
        at = message.sent_at or message.send_at
        messages.setdefault(message.enrollment_id, []).append(
            (message.step, message.status, at.isoformat(timespec="milliseconds"))
        )
    return sorted(
        (
            str(row.contact_id),
            row.started_at,
            row.status,
            row.end_reason,
            row.ended_at,
            messages.get(row.id, []),
        )
        for row in Enrollment.objects.filter(campaign=campaign)
    )


def told_by(rehearsal):
    return sorted(
        (
            str(row.contact_id),
            row.started_at,
            row.status,
            row.end_reason,
            row.ended_at,
            [
                (message["step"], message["status"], message["at"].replace("Z", "+00:00"))
                for message in row.messages
            ],
        )
        for row in rehearsal.enrollments.all()
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_rehearsal_agrees_with_what_happened(seed):
    draw = random.Random(seed)
    workspace = a_workspace()
    with clock.virtual(BEGIN - timedelta(hours=1)):
        campaign = a_campaign(workspace, a_journey(workspace), name="Welcome")
    until = BEGIN + timedelta(days=3)
    live(workspace, traffic(draw, people=8, days=2), until)
    happened = told_live(campaign)
    assert len({(status, reason) for _, _, status, reason, *_ in happened}) > 1
    assert any(messages for *_, messages in happened)

    rehearsal = order_rehearsal(campaign, BEGIN, until, is_run_by_caller=True)
    run_rehearsal(rehearsal)
    rehearsal.refresh_from_db()
    assert rehearsal.status == Rehearsal.Status.DONE, rehearsal.error
    assert told_by(rehearsal) == happened
    assert told_live(campaign) == happened
