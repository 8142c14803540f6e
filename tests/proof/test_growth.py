"""What work costs grows as the rows do that it is about: twice as many cost no more than some twice as much."""

import random
from collections import Counter, defaultdict
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from campaigns.journeys.processor import process_due_enrollments
from campaigns.reporting import audit as auditing
from campaigns.reporting.audit import check_consistency
from config import clock
from config.ids import uuid7
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.merging.reassignment import finish_merge
from contacts.models import Contact, ContactScore, Merge
from contacts.references import ContactReference
from events.aggregates.registry import recompute_aggregates
from events.models import EffectsLevel, Event
from events.processing.passes import apply_effects
from events.rules import AggregateSpec
from events.stream.outbox import enqueue_events
from events.stream.partitions import ensure_partitions
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring import verification
from scoring.models import ScoringRule
from scoring.rescoring import rescore_contacts, rescore_lane
from scoring.rules import save_rule
from scoring.verification import verify_contacts
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, definition, marks, on_event, sends
from tests.contacts.factories import a_contact, by_email
from tests.plans import work_by_statement, work_of
from tests.scale import IS_WHOLE, TIMES
from tests.segments.factories import a_segment, attribute, did, every, in_segment
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
        record_events(workspace.id, incoming[start : start + 1000], schema_policy=SchemaPolicy.OPEN)
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
        merging.append(work_of(partial(merge_contacts, workspace.id, survivor, merged)))
        assert ContactScore.objects.get(contact=survivor).points == 4 * events
        merge = Merge.objects.get(survivor=survivor)
        parting.append(work_of(partial(undo_merge, workspace.id, merge)))
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
    inconsistencies = []
    audit = check_consistency(
        workspace.id, now=clock.now(), grace=timedelta(0), report=inconsistencies.append
    )
    assert audit.counts["contacts"] == len(people)
    assert [gap for gap in inconsistencies if gap.check == "score"] == []


def test_contacts_with_very_many_scored_events_are_merged_and_parted(workspace):
    one, other = many_scored(workspace, 2, VERY_MANY)
    survivor, merged = (Contact.objects.get(id=contact_id) for contact_id in (one, other))
    merge = merge_contacts(workspace.id, survivor, merged)
    assert finish_merge(merge)
    assert ContactScore.objects.get(contact=survivor).points == 2 * VERY_MANY
    assert finish_merge(undo_merge(workspace.id, merge))
    scores = dict(ContactScore.objects.values_list("contact_id", "points"))
    assert scores == {one: VERY_MANY, other: VERY_MANY}


SIZES = (120, 240) if TIMES == 1 else (600, 1_200)
# What a statement costs whatever it is about, and some more entries of an index than rows.
MORE = 300


class Life:
    """A workspace of so many people, each of whom does the same, with all that follows; each step is measured."""

    def __init__(self, people: int, *, is_analyzed: bool) -> None:
        self.is_analyzed = is_analyzed
        self.workspace = Workspace.objects.create(name=f"Of {people}")
        self.work: dict[str, dict[str, Counter[str]]] = {}
        self.rules = [
            ScoringRule(workspace=self.workspace, name=name, event_name="buy", points=1) for name in "ab"
        ]
        save_rule(self.rules[0], condition={"field": "metadata.amount", "operator": "gt", "value": 1})
        save_rule(self.rules[1], limit_count=1, limit_period="day", decay_points=1, decay_days=1)
        often = a_segment(
            self.workspace, every(did("buy", operator="gte", value=2)), "often", starts_campaigns=True
        )
        a_segment(self.workspace, every(did("buy", timeWindow="7d")), "lately")
        a_segment(self.workspace, every(attribute("score", "gte", 2)), "scored")
        a_segment(self.workspace, every(in_segment(often)), "nested")
        a_campaign(self.workspace, definition(sends(self.workspace), marks(), trigger=on_event("buy")))
        self.people = [a_contact(self.workspace, f"p{place}@example.test") for place in range(people)]
        apply_effects(self.workspace.id)

    def measure(self, family: str, call) -> None:
        if self.is_analyzed:
            with connection.cursor() as cursor:
                cursor.execute(f"ANALYZE {', '.join(ANALYZED)}")
        work = self.work[family] = defaultdict(Counter)
        for sql, scans in work_by_statement(call).items():
            # Its beginning is the statement's name: what rules ask may come in another order.
            work[" ".join(sql.split())[:120]] += scans

    def buy(self, times: int = 1) -> None:
        incoming = [
            IncomingEvent("buy", ContactReference(id=str(one.id)), {"amount": 5}) for one in self.people
        ] * times
        for start in range(0, len(incoming), 1_000):
            record_events(self.workspace.id, incoming[start : start + 1_000], schema_policy=SchemaPolicy.OPEN)

    def go_through(self, time) -> None:
        apply = partial(apply_effects, self.workspace.id)
        # The database knows some rows of each kind before anything is measured.
        self.buy()
        apply()
        process_due_enrollments(self.workspace.id, at_most_seconds=60)
        apply()
        self.measure("events", self.buy)
        self.measure("effects", apply)
        self.measure(
            "steps and messages", partial(process_due_enrollments, self.workspace.id, at_most_seconds=60)
        )
        self.buy()
        self.measure("effects again", apply)
        time.moment += timedelta(days=9)
        self.measure("timers", apply)
        self.buy()
        self.measure("rescoring", self.rescore)
        self.measure("building", self.rebuild)
        apply()
        self.measure("verification of scores", self.verify_scores)
        self.measure("verification of segments", partial(verify_segments, self.workspace.id))
        self.measure("audit", self.audit)
        one, other = self.people[:2]
        self.tell(one)
        self.tell(other)
        apply()
        self.measure("merge", partial(merge_contacts, self.workspace.id, one, other))
        self.measure("effects of a merge", apply)
        self.measure("erasure", partial(erase_person, self.workspace.id, one))

    def tell(self, contact) -> None:
        incoming = [IncomingEvent("buy", ContactReference(id=str(contact.id)), {"amount": 5})] * len(
            self.people
        )
        record_events(self.workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)

    def rescore(self) -> None:
        for rule in self.rules:
            save_rule(rule, rescore=True, points=2)
            for lane in range(16):
                rescore_lane(self.workspace.id, rule.id, lane)

    def rebuild(self) -> None:
        a_segment(
            self.workspace,
            every(did("buy", aggregate="sum", property="metadata.amount", operator="gte", value=8)),
        )

    def verify_scores(self) -> None:
        assert (
            list(verification._Recount(self.workspace.id, [one.id for one in self.people]).differences())
            == []
        )

    def audit(self) -> None:
        audit = auditing.ConsistencyReport(lambda _: None)
        for check in (auditing._batches, auditing._parked, auditing._decisions):
            check(audit, self.workspace.id, clock.now())
        for check in (auditing._enrollments, auditing._messages):
            check(audit, self.workspace.id, clock.now(), [])


ANALYZED = (
    "events_event",
    "events_eventbatch",
    "events_timer",
    "events_contactaggregate",
    "contacts_contact",
    "contacts_identifier",
    "contacts_contactscore",
    "scoring_scoreentry",
    "scoring_rulescore",
    "segments_membership",
    "segments_membershipperiod",
    "campaigns_enrollment",
    "campaigns_message",
    "campaigns_decision",
)


@pytest.fixture
def time(monkeypatch):
    virtual = SimpleNamespace(moment=clock.now())
    monkeypatch.setattr(clock, "now", lambda: virtual.moment)
    return virtual


def forget_statistics():
    """Have the database know nothing of any table, as in the first minutes of a new one, or of a partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE {_OURS})")
        cursor.execute(
            f"UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relkind IN ('r', 'p', 'i') AND {_OURS}"
        )


_OURS = "relnamespace = 'public'::regnamespace"


@pytest.mark.slow
def test_no_statement_costs_more_than_the_rows_do_that_it_is_about(time):
    """Whether the database knows the tables or nothing of them; in the whole proof both."""
    for is_analyzed in (True, False) if IS_WHOLE else (random.choice((True, False)),):
        few, many = (lived(people, time, is_analyzed=is_analyzed) for people in SIZES)
        assert not (steep := steep_ones(few, many)), "\n".join([f"{is_analyzed=}", *steep])


def steep_ones(few, many):
    """Return the statements that cost more than in proportion."""
    return [
        f"{family}: {few[family][name].total()} -> {scans.total()}: {name}: {scans.most_common(3)}"
        for family, statements in many.items()
        for name, scans in statements.items()
        # What few rows of an index were may be a whole table's that is read once: each has four rows at most.
        if scans.total() > max(2.6 * few[family][name].total() + MORE, 4 * SIZES[1])
    ]


def lived(people, time, *, is_analyzed):
    """Return what it cost so many people, of whom nothing is left for the next to read."""
    before = transaction.savepoint()
    if not is_analyzed:
        forget_statistics()
    life = Life(people, is_analyzed=is_analyzed)
    with connection.cursor() as cursor:
        # A small table may else be read as a whole, which says nothing of a large one.
        cursor.execute("SET LOCAL enable_seqscan = off")
    life.go_through(time)
    transaction.savepoint_rollback(before)
    return life.work


def test_lists_for_which_memory_has_no_room_are_not_read_once_for_each_row(workspace):
    people = many_scored(workspace, 20, 100)
    spec = AggregateSpec("buy", None, "")
    enqueue_events(workspace.id, list(Event.objects.values_list("id", "contact_id")), level=EffectsLevel.ALL)
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(ANALYZED)}")
        cursor.execute("SET LOCAL work_mem = '64kB'")
    for work in (
        partial(rescore_contacts, workspace.id),
        partial(recompute_aggregates, workspace.id, specs=[spec]),
    ):
        few, many = (work_of(partial(work, people[:number])) for number in (10, 20))
        assert many < 2.6 * few, (work, few, many)
