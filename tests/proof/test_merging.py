"""What merges and their undoes come to: the histories of separate persons, or of one, whatever came when."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db.models.signals import post_save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import clock
from contacts.crud import create_contact
from contacts.merging import reassignment
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.merging.reassignment import MERGES
from contacts.models import Contact, ContactScore
from contacts.references import ContactChanges, ContactReference
from events.models import Aggregate, ContactAggregate, EffectsLevel, Event, EventBatch
from events.processing.passes import apply_effects
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from segments.models import Membership, MembershipPeriod, Segment
from segments.verification import verify_segments
from tests.contacts.factories import tag_contact
from tests.scale import scaled
from tests.segments.factories import a_segment, attribute, did, every, in_segment, none_of
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

PEOPLE = 3
START = datetime(2026, 3, 2, 12, tzinfo=UTC)


_examples = count()


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start anew. No two examples share a moment: hypothesis repeats the chance that ids are made of."""
        self.moment = START + next(_examples) * timedelta(milliseconds=1)

    def __call__(self) -> datetime:
        return self.moment

    def go(self, **length: float) -> None:
        self.moment += timedelta(**length)


@pytest.fixture
def time(monkeypatch):
    virtual = Time()
    monkeypatch.setattr(clock, "now", virtual)
    return virtual


class World:
    """A workspace with rules and segments, and people who are known by their addresses."""

    def __init__(self) -> None:
        self.workspace = WorkspaceFactory()
        for name, values in {
            "plain": {"event_name": "buy", "points": 5},
            "limited": {"event_name": "buy", "points": 7, "limit_count": 2, "limit_period": "month"},
            "decaying": {
                "event_name": "visit",
                "points": 10,
                "decay_points": 3,
                "decay_days": 5,
                "max_score": 25,
            },
        }.items():
            save_rule(ScoringRule(workspace=self.workspace, name=name), **values)
        often = a_segment(
            self.workspace, every(did("buy", operator="gte", value=3)), "often", starts_campaigns=True
        )
        spent = did("buy", aggregate="sum", property="metadata.amount", operator="gte", value=12)
        lately = did("visit", operator="gte", value=2, timeWindow="7d")
        vip = {"type": "tag", "value": "vip", "operator": "has"}
        a_segment(self.workspace, every(spent), "spent")
        a_segment(self.workspace, every(lately), "lately")
        a_segment(self.workspace, every(attribute("score", "gte", 20)), "scored")
        a_segment(self.workspace, every(vip, none_of(in_segment(often))), "vip")
        self.people = [
            create_contact(self.workspace, ContactChanges(identifiers=(("email", f"p{n}@example.test"),)))
            for n in range(PEOPLE)
        ]
        self.merges = []

    def send(self, person: int, name: str, amount: int, at: datetime) -> None:
        reference = ContactReference(identifiers=(("email", f"p{person}@example.test"),))
        incoming = IncomingEvent(name, reference, {"amount": amount}, occurred_at=at)
        record_event(self.workspace, incoming, schema_policy=SchemaPolicy.OPEN)

    def tag(self, person: int) -> None:
        tag_contact(self.workspace.id, self.people[person], "vip")

    def finish(self) -> None:
        """Come to the end of the merge that is under way in chunks."""
        MERGES.run_all()

    def process_batches(self) -> None:
        """Move a chunk of what a merge or an undo has left."""
        MERGES.run_all(at_most_seconds=-1)

    def settle(self) -> None:
        apply_effects(self.workspace.id)
        assert not EventBatch.objects.filter(workspace=self.workspace).exists()

    def state(self, *people: int):
        """Return scores, aggregates and memberships, by place of the person."""
        places = {self.people[place].id: place for place in people}
        of_people = {"workspace": self.workspace, "contact_id__in": list(places)}
        scores = (
            ContactScore.objects.filter(**of_people).exclude(points=0).values_list("contact_id", "points")
        )
        keys = dict(Aggregate.objects.filter(workspace=self.workspace).values_list("id", "key"))
        aggregates = ContactAggregate.objects.filter(**of_people).values_list(
            "contact_id", "aggregate_id", "count", "total", "first_at", "last_at"
        )
        names = {one.version: one.name for one in Segment.objects.filter(workspace=self.workspace)}
        members = Membership.objects.filter(**of_people, version__in=names).values_list(
            "contact_id", "version"
        )
        return (
            {places[contact]: points for contact, points in scores},
            {(places[contact], keys[measure]): values for contact, measure, *values in aggregates},
            {(places[contact], names[version]) for contact, version in members},
        )

    def check(self) -> None:
        """Hold scores, memberships and stays against what independent readings of the stream say."""
        assert not verify_segments(self.workspace.id).differences
        members = Membership.objects.filter(
            workspace=self.workspace,
            version__in=Segment.objects.filter(workspace=self.workspace).values("version"),
        )
        stays = MembershipPeriod.objects.filter(workspace=self.workspace, left_at=None)
        assert Counter(members.values_list("segment_id", "contact_id")) == Counter(
            stays.values_list("segment_id", "contact_id")
        )
        merged = Contact.objects.filter(workspace=self.workspace).exclude(merged_into=None)
        assert not members.filter(contact_id__in=merged.values("id")).exists()
        assert not ContactScore.objects.filter(contact__in=merged).exclude(points=0).exists()


@pytest.fixture(params=["at once", "in chunks"])
def _moving(request, monkeypatch):
    """Have what merged contacts have moved at once, or two rows at a time, between which other things happen."""
    if request.param == "in chunks":
        monkeypatch.setattr(reassignment, "MOST_AT_ONCE", 0)
        monkeypatch.setattr(reassignment, "BATCH_ROWS", 2)
        monkeypatch.setattr(reassignment, "PAUSE_SECONDS", 0)


PERSON = st.integers(0, PEOPLE - 1)
HAPPENING = st.one_of(
    st.tuples(
        st.just("event"), PERSON, st.sampled_from(["buy", "visit"]), st.integers(1, 9), st.integers(0, 9)
    ),
    st.tuples(
        st.just("event"), PERSON, st.sampled_from(["buy", "visit"]), st.integers(1, 9), st.integers(0, 9)
    ),
    st.tuples(st.just("tag"), PERSON),
    st.tuples(st.just("settle")),
    st.tuples(st.just("wait"), st.integers(1, 6)),
)
REGROUPING = st.one_of(
    st.tuples(st.just("merge"), PERSON, PERSON),
    st.tuples(st.just("undo"), st.integers(0, 5)),
)
HISTORY = st.lists(st.one_of(HAPPENING, HAPPENING, REGROUPING), min_size=4, max_size=18)
QUICK = settings(
    max_examples=scaled(4, 10),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def happen(world: World, step, moment: datetime, *, person=None) -> None:
    """Let something happen to a person, or to the one who stands for it."""
    kind, *rest = step
    if kind == "event":
        who, name, amount, days = rest
        world.send(who if person is None else person, name, amount, moment - timedelta(days=days))
    elif kind == "tag":
        world.tag(rest[0] if person is None else person)
    elif kind == "settle":
        world.settle()


def regroup(world: World, step) -> None:
    kind, *rest = step
    world.finish()
    if kind == "undo":
        if world.merges:
            undo_merge(world.workspace.id, world.merges.pop(rest[0] % len(world.merges)))
        return
    survivor, merged = rest
    standing = Contact.objects.in_workspace(world.workspace.id).canonical()
    ids = [world.people[place].id for place in (survivor, merged)]
    if survivor != merged and standing.filter(id__in=ids).count() == 2:
        world.merges.append(merge_contacts(world.workspace.id, world.people[survivor], world.people[merged]))


def is_merged(world: World, person: int) -> bool:
    ids = {person_id for merge in world.merges for person_id in (merge.survivor_id, merge.merged_id)}
    return world.people[person].id in ids


@pytest.mark.usefixtures("_moving")
@QUICK
@given(history=HISTORY, order=st.randoms(use_true_random=False))
def test_after_the_undo_all_is_as_if_there_had_been_no_merge(time, history, order: random.Random):
    time.begin()
    world, twin = World(), World()
    for step in history:
        time.go(minutes=1)
        if step[0] == "wait":
            time.go(days=step[1])
        elif step[0] in ("merge", "undo"):
            regroup(world, step)
        # What is told of the person while it is merged stays with the survivor; an event is whose it came with.
        elif step[0] != "tag" or not is_merged(world, step[1]):
            happen(world, step, time.moment)
            happen(twin, step, time.moment)
        world.process_batches()
    order.shuffle(world.merges)
    while world.merges:
        time.go(minutes=1)
        world.finish()
        undo_merge(world.workspace.id, world.merges.pop())
    world.finish()
    for one in (world, twin):
        one.settle()
    world.check()
    assert world.state(*range(PEOPLE)) == twin.state(*range(PEOPLE))
    time.go(days=4)
    for one in (world, twin):
        one.settle()
    assert world.state(*range(PEOPLE)) == twin.state(*range(PEOPLE))


@pytest.mark.usefixtures("_moving")
@QUICK
@given(history=HISTORY)
def test_merged_contacts_are_one_who_had_all_their_histories(time, history):
    time.begin()
    world, alone = World(), World()
    # Of both, the first two are one in the end: here by a merge at some time, there from the beginning.
    place = len(history) // 2
    for number, step in enumerate(history):
        time.go(minutes=1)
        if number == place:
            merge_contacts(world.workspace.id, world.people[0], world.people[1])
        if step[0] == "wait":
            time.go(days=step[1])
        elif step[0] not in ("merge", "undo"):
            happen(world, step, time.moment)
            happen(alone, step, time.moment, person=0 if step[0] != "settle" and step[1] == 1 else None)
        world.process_batches()
    world.finish()
    for one in (world, alone):
        one.settle()
    world.check()
    (scores, _, members), (expected_scores, _, expected) = world.state(0, 2), alone.state(0, 2)
    assert (scores, members) == (expected_scores, expected)
    time.go(days=4)
    for one in (world, alone):
        one.settle()
    assert world.state(0, 2)[::2] == alone.state(0, 2)[::2]


@pytest.fixture
def levels():
    """Gather the levels of the batches that are made."""
    found = []

    def note(instance: EventBatch, **_: object) -> None:
        found.append(instance.level)

    post_save.connect(note, sender=EventBatch, weak=False)
    yield found
    post_save.disconnect(note, sender=EventBatch)


def test_nothing_of_a_merge_starts_a_campaign(time, levels):
    world = World()
    for person in (0, 1):
        for _ in range(3):
            time.go(minutes=1)
            world.send(person, "buy", 9, time.moment)
    world.settle()
    before = set(Event.objects.filter(workspace=world.workspace).values_list("id", flat=True))
    levels.clear()
    merge = merge_contacts(world.workspace.id, world.people[0], world.people[1])
    world.settle()
    undo_merge(world.workspace.id, merge)
    world.settle()
    told = Event.objects.filter(workspace=world.workspace).exclude(id__in=before)
    names = set(told.values_list("name", flat=True))
    assert names == {"contact.merged", "contact.unmerged", "segment.entered", "segment.exited"}
    assert set(levels) == {EffectsLevel.SCORES_AND_SEGMENTS}
