"""Real threads by a real clock: hundreds of contacts and what each does first, while workers take it at once.

Here nothing is stepped, so what is read too early, or by another's clock, shows. In the end all is as the plain
reference says. `PROOF_TIMES` multiplies the contacts.
"""

import random
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from campaigns.journeys.processor import process_due_enrollments
from campaigns.reporting.audit import check_consistency
from config import clock
from contacts.crud import create_contact
from contacts.models import Contact, ContactScore
from contacts.references import ContactChanges, ContactReference
from events.models import Event, EventBatch, ParkedEffect
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.verification import verify_contacts
from segments.models import MembershipPeriod
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, definition, ends, marks, on_event, work
from tests.events.rules.reference import EventRecord, Person, holds
from tests.scale import scaled
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, did, every, in_segment, none_of, stays, who_is_in
from tests.workspaces.factories import WorkspaceFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

SENDERS, WORKERS = 6, 2
MOMENT = timedelta(seconds=6)
IN_A_DAY = did("buy", operator="gte", value=1, timeWindow="1d")
JUST_NOW = did("buy", operator="gte", value=1, timeWindow="6s")
# Windows over all of the storm, and what other conditions make of them.
LASTING = [
    IN_A_DAY,
    did("buy", operator="gte", value=2, timeWindow="1h"),
    none_of(did("buy", timeWindow="30d")),
    did("buy", operator="eq", value=0, timeWindow="1h"),
    did("buy", aggregate="first", operator="within", value="1h"),
    did("buy", aggregate="last", operator="within", value="1d", timeWindow="1h"),
    did("buy", aggregate="sum", property="metadata.amount", operator="gte", value=5, timeWindow="1d"),
    did("buy", operator="gte", value=1),
    every(did("buy", timeWindow="1d"), did("look", timeWindow="1h")),
]


@pytest.fixture
def clocks(monkeypatch):
    """Give threads clocks of their own: `clocks.ahead` says by how many seconds."""
    own = threading.local()

    def now():
        return datetime.now(UTC) + timedelta(seconds=getattr(own, "ahead", 0.0))

    monkeypatch.setattr(clock, "now", now)
    return own


@pytest.mark.parametrize(
    ("people", "skews", "messages"),
    [
        pytest.param(300, [0.0], False, id="one clock"),
        pytest.param(120, [0.0, 0.05, -0.05, 0.6], True, id="clocks of hosts and senders that differ"),
    ],
)
def test_the_first_events_of_contacts_bring_them_in(clocks, people, skews, messages):
    workspace = WorkspaceFactory()
    segments = [a_segment(workspace, raw) for raw in LASTING]
    upper = a_segment(workspace, every(in_segment(segments[0]), none_of(in_segment(segments[2]))))
    passing = a_segment(workspace, JUST_NOW)
    a_rule(workspace, "buy", 3, IN_A_DAY)
    once = a_campaign(
        workspace, definition(marks(), trigger=on_event("buy", IN_A_DAY), reentry={"mode": "once"})
    )
    sent: list[list[str]] = []

    def send(place):
        clocks.ahead = skews[place % len(skews)]
        chance = random.Random(place)
        for _ in range(scaled(people // 3, people) // SENDERS):
            contact = create_contact(workspace, ContactChanges(first_name="Ada"))
            names = chance.choice([["buy"], ["buy"], ["look"], ["buy", "look"], ["look", "buy", "buy"]])
            for name in names:
                record_events(
                    workspace.id, [_event(name, contact, chance, messages)], schema_policy=SchemaPolicy.OPEN
                )
            sent.append(names)

    def apply(place, is_over):
        clocks.ahead = skews[-1 - place % len(skews)]
        while not is_over.is_set():
            apply_effects(workspace.id)
            process_due_enrollments(workspace.id, at_most_seconds=1)
            time.sleep(0.005)

    with _threads(apply, WORKERS):
        _run_all(send, SENDERS)
        _wait(lambda: not EventBatch.objects.filter(workspace_id=workspace.id).exists())
    # By the clock of this thread some of it has still to lapse.
    time.sleep(MOMENT.total_seconds() + max(skews))
    work(workspace)

    assert not ParkedEffect.objects.exists()
    assert len(sent) == scaled(people // 3, people) // SENDERS * SENDERS
    everybody = _people(workspace)
    for segment, raw in zip(segments, LASTING, strict=True):
        assert who_is_in(segment) == _fitting(everybody, raw), raw
    buyers = _fitting(everybody, IN_A_DAY)
    assert who_is_in(upper) == buyers
    assert who_is_in(passing) == set()
    _check_passing(passing, everybody)
    scores = dict(ContactScore.objects.filter(workspace=workspace).values_list("contact_id", "points"))
    assert scores == {
        contact_id: 3 * sum(event.name == "buy" for event in person.events)
        for contact_id, person in everybody.items()
        if contact_id in buyers
    }
    assert ends(once) == [("completed", "end_of_workflow")] * len(buyers)
    _audit(workspace)


def _event(name, contact, chance, with_keys):
    """Return an event now; with keys, by a sender whose clock is ahead, or behind, or that has none."""
    key = {}
    if with_keys and (ahead := chance.choice([None, -1, 0, 0.2, 3, 240])) is not None:
        at = clock.now() + timedelta(seconds=ahead)
        key = {"message_id": str(chance.random()), "occurred_at": at}
    return IncomingEvent(name, ContactReference(id=str(contact.id)), {"amount": chance.randint(1, 9)}, **key)


def _people(workspace):
    events = {contact_id: [] for contact_id in Contact.objects.values_list("id", flat=True)}
    for row in Event.objects.filter(workspace=workspace, contact_id__isnull=False):
        events[row.contact_id].append(
            EventRecord(row.id, row.name, row.occurred_at, row.properties, row.context)
        )
    return {contact_id: Person(events=tuple(those)) for contact_id, those in events.items()}


def _fitting(everybody, raw):
    now = clock.now()
    return {contact_id for contact_id, person in everybody.items() if holds(raw, person, now)}


def _check_passing(segment, everybody):
    """Who was in by a window that is over left as it lapsed, and came in no earlier than it did what it asks for."""
    for contact_id, person in everybody.items():
        bought = sorted(event.occurred_at for event in person.events if event.name == "buy")
        told = stays(segment, Contact.objects.get(id=contact_id))
        assert bool(told) == bool(bought)
        if told:
            assert told[0][0] >= bought[0]
            assert told[-1][1] == bought[-1] + MOMENT
    assert not MembershipPeriod.objects.filter(segment=segment, left_at=None).exists()


def _audit(workspace):
    inconsistencies = []
    check_consistency(
        workspace.id, now=clock.now(), grace=timedelta(), report=lambda gap: inconsistencies.append(str(gap))
    )
    assert inconsistencies == []
    assert verify_segments(workspace.id).is_sound
    assert verify_contacts(workspace.id, list(Contact.objects.values_list("id", flat=True))) == []


@contextmanager
def _threads(work, count):
    """Have threads at work until the end of the block, which raises what any of them raised."""
    is_over = threading.Event()
    with _collecting() as run:
        threads = [threading.Thread(target=run, args=(work, place, is_over)) for place in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            is_over.set()
            for thread in threads:
                thread.join(timeout=60)


def _run_all(work, count):
    with _collecting() as run:
        threads = [threading.Thread(target=run, args=(work, place)) for place in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=600)


@contextmanager
def _collecting():
    failures = []

    def run(work, *arguments):
        try:
            work(*arguments)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    yield run
    if failures:
        raise failures[0]


def _wait(is_so, seconds=120):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
