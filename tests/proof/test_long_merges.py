"""A merge of contacts with very many scored events: the background moves them, some at a time, and nobody waits."""

import os
import random
import subprocess
import sys
import threading
from contextlib import closing
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils.module_loading import import_string

from config import clock
from contacts.erasure.erasures import ERASURES, erase_person
from contacts.errors import MergeInProgress
from contacts.merging import reassignment
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.merging.reassignment import MERGES, finish_merge
from contacts.models import Contact, ContactScore, Merge
from contacts.references import ContactReference
from events.models import EventBatch
from events.processing.passes import apply_effects, bump_rules_version, lock_lane
from events.stream.outbox import LANE_COUNT, lane_of
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rescoring import rescore_contacts, rescore_lane
from scoring.rules import save_rule
from scoring.verification import repair_contacts, verify_contacts
from segments.verification import verify_segments
from tests.config.runtime.test_supervisor import ROOT, wait_for
from tests.contacts.erasure.exports import exported
from tests.contacts.factories import a_contact, by_email, tag_contact
from tests.native import NativeClient
from tests.proof.test_erasure import address_of_database
from tests.proof.test_growth import many_scored
from tests.scale import TIMES, scaled
from tests.segments.factories import a_segment, attribute, did, every
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory
from workspaces.schedule import IDLE_SECONDS

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = 1_500 * TIMES
LIMITED = {"limit_count": 3, "limit_period": "day", "decay_points": 1, "decay_days": 1}


@pytest.fixture
def workspace():
    return WorkspaceFactory()


@pytest.fixture
def pair(workspace):
    """Two contacts with many events each, of which one rule's points add up, and another's are limited and decay."""
    ids = many_scored(workspace, 2, EVENTS)
    limited = ScoringRule(workspace=workspace, name="limited", event_name="buy", points=2, **LIMITED)
    save_rule(limited, effective_from=None)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO scoring_scoreentry (id, workspace_id, contact_id, rule_id, event_id, points, occurred_at,"
            " created_at, is_superseded) SELECT gen_random_uuid(), workspace_id, contact_id, %s, event_id, 2,"
            " occurred_at, created_at, false FROM scoring_scoreentry",
            [limited.id],
        )
    with transaction.atomic():
        rescore_contacts(workspace.id, ids)
    return [Contact.objects.get(id=one) for one in ids]


@pytest.fixture
def _in_small_chunks(monkeypatch):
    monkeypatch.setattr(reassignment, "MOST_AT_ONCE", 1)
    monkeypatch.setattr(reassignment, "BATCH_ROWS", 2)
    monkeypatch.setattr(reassignment, "PAUSE_SECONDS", 0)


@pytest.fixture
def small(workspace, _in_small_chunks):
    """Two contacts with a few events each, whose merge is long all the same."""
    save_rule(ScoringRule(workspace=workspace, name="plain", event_name="buy", points=1))
    save_rule(ScoringRule(workspace=workspace, name="limited", event_name="buy", points=2, **LIMITED))
    both = [a_contact(workspace, f"{name}@example.test") for name in ("kept", "gone")]
    for name in ("kept", "gone") * 5:
        buy(workspace, name)
    apply_effects(workspace.id)
    assert scores(workspace) == {both[0].id: 11, both[1].id: 11}
    return both


def buy(workspace, name):
    incoming = IncomingEvent("buy", by_email(f"{name}@example.test"))
    return record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN)


def scores(workspace):
    return dict(ContactScore.objects.filter(workspace=workspace).values_list("contact_id", "points"))


def moved():
    return Merge.objects.get().done


def is_as_at_once(workspace, *contacts):
    """Hold what came about against the stream, and against what a merge at once would have made of it."""
    ids = [contact.id for contact in contacts]
    assert verify_contacts(workspace.id, ids) == []
    before = state(workspace)
    with transaction.atomic():
        assert rescore_contacts(workspace.id, ids) == set()
    assert state(workspace) == before


def state(workspace):
    of = {"workspace": workspace}
    return (
        set(
            ScoreEntry.objects.filter(**of).values_list("contact_id", "rule_id", "event_id", "is_superseded")
        ),
        set(
            RuleScore.objects.filter(**of).values_list(
                "contact_id", "rule_id", "value", "last_event_id", "counted", "included"
            )
        ),
        scores(workspace),
    )


def test_the_background_is_called_and_says_how_far_it_is(workspace, small, monkeypatch):
    called = []
    monkeypatch.setattr("config.runtime.background.publish", lambda task, *_, **__: called.append(task))
    api = NativeClient(workspace)
    kept, gone = small

    answer = api.post(f"contacts/{kept.id}/merge", {"contactId": str(gone.id)})

    assert answer.status_code == 201
    assert (answer.json()["status"], answer.json()["progress"]) == ("running", 0)
    assert "workspaces.tasks.continue_backfill" in called
    # Who it is, is settled at once; what it has earned is what it was.
    assert api.get(f"contacts/{gone.id}").json()["id"] == str(kept.id)
    buy(workspace, "gone")
    apply_effects(workspace.id)
    assert scores(workspace)[kept.id] == 12

    assert MERGES.run_all(at_most_seconds=-1) == "more"
    (told,) = api.get(f"contacts/{kept.id}/merges").json()
    assert told["status"] == "running"
    assert 0 < told["progress"] < 1
    while MERGES.run_all(at_most_seconds=0) == "more":
        pass
    (told,) = api.get(f"contacts/{kept.id}/merges").json()
    assert (told["status"], told["progress"]) == ("done", 1)
    assert MERGES.run_all() == "nothing"
    assert scores(workspace) == {kept.id: 17}
    is_as_at_once(workspace, kept)


def test_another_merge_or_undo_of_the_same_contacts_is_refused_meanwhile(workspace, small):
    api = NativeClient(workspace)
    kept, gone = small
    third = a_contact(workspace, "third@example.test")
    merge = merge_contacts(workspace.id, kept, gone)

    for path, body in (
        (f"contacts/{kept.id}/merge", {"contactId": str(third.id)}),
        (f"contacts/{third.id}/merge", {"contactId": str(kept.id)}),
        (f"merges/{merge.id}/undo", {}),
    ):
        answer = api.post(path, body)
        assert answer.status_code == 409, path
        assert (
            answer.json()["error"] == f"The merge {merge.id} of this contact, or its undo, is still under way"
        )
    other = merge_contacts(workspace.id, third, a_contact(workspace, "fourth@example.test"))

    assert finish_merge(merge)
    assert merge.status == "done"
    merge = undo_merge(workspace.id, merge)
    assert (merge.status, merge.done) == ("running", 0)
    with pytest.raises(MergeInProgress):
        merge_contacts(workspace.id, kept, gone)
    assert finish_merge(merge)
    assert scores(workspace) == {kept.id: 11, gone.id: 11}
    is_as_at_once(workspace, kept, gone)
    assert finish_merge(other)


def test_a_person_is_erased_in_the_middle_of_a_merge_and_after_an_undo(workspace, small):
    kept, gone = small
    merge = merge_contacts(workspace.id, kept, gone)
    MERGES.run_all(at_most_seconds=-1)
    finish_merge(merge)
    merge = undo_merge(workspace.id, merge)
    MERGES.run_all(at_most_seconds=-1)
    # Some entries are with the one, and some with the other.
    for one in (kept, gone):
        with pytest.raises(MergeInProgress):
            erase_person(workspace.id, one)
    finish_merge(merge)

    merge = merge_contacts(workspace.id, kept, gone)
    MERGES.run_all(at_most_seconds=-1)
    erase_person(workspace.id, kept)
    ERASURES.run_all()

    assert MERGES.run_all() == "nothing"
    assert not Merge.objects.exists()
    assert not ScoreEntry.objects.exists()
    assert scores(workspace) == {}


def test_beat_finds_a_merge_that_was_forgotten(workspace, small, settings, monkeypatch):
    # In one turn, however slow the machine is.
    monkeypatch.setattr("workspaces.tasks.TURN_SECONDS", 60.0)
    merge = merge_contacts(workspace.id, *small)
    job = settings.SCHEDULE["continue idle backfills"]

    def due():
        with connection.cursor() as cursor:
            cursor.execute(import_string(job["next_due"])())
            return cursor.fetchone()[0]

    assert due() == merge.progressed_at + timedelta(seconds=IDLE_SECONDS)
    assert import_string(job["task"])() == "done"
    assert due() is None


def test_one_that_fails_holds_up_no_other(workspace, small, monkeypatch):
    merge_contacts(workspace.id, *small)
    more = [a_contact(workspace, f"{place}@example.test") for place in range(2)]
    for place in (0, 1) * 2:
        buy(workspace, place)
    apply_effects(workspace.id)
    sound = merge_contacts(workspace.id, *more)
    move = import_string("scoring.merges.REASSIGNED_ROWS").move_some

    def fail(regrouped, *rest):
        if regrouped.new == small[0].id:
            raise ValueError("no")
        return move(regrouped, *rest)

    monkeypatch.setattr(
        "scoring.merges.REASSIGNED_ROWS",
        reassignment.ReassignedRows(count=None, total=lambda _: 0, move=None, move_some=fail),
    )
    with pytest.raises(ValueError, match="no"):
        MERGES.run_all()
    sound.refresh_from_db()
    assert sound.status == "done"


def test_nobody_waits_longer_than_for_a_chunk(workspace, pair, monkeypatch):
    """Edits of rules, and events of another contact of the same lane, while the merge is worked on."""
    kept, gone = pair
    other = next(
        one
        for place in range(1_000)
        if lane_of((one := a_contact(workspace, f"other{place}@example.test")).id) == lane_of(kept.id)
    )
    apply_effects(workspace.id)
    chunks = []
    take_batch = MERGES._take_batch

    def count(merge):
        chunks.append(1)
        return take_batch(merge)

    monkeypatch.setattr(MERGES, "_take_batch", count)
    assert merge_contacts(workspace.id, kept, gone).status == "running"

    def work():
        with closing(connection):
            MERGES.run_all()

    worker = threading.Thread(target=work)
    worker.start()
    waited, scored = [], 0
    while worker.is_alive():
        before = len(chunks)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '20s'")
            bump_rules_version(workspace.id)
        name = by_email(Contact.objects.get(id=other.id).identifiers.get().value)
        record_event(workspace, IncomingEvent("buy", name), schema_policy=SchemaPolicy.OPEN)
        apply_effects(workspace.id)
        waited.append(len(chunks) - before)
        scored += ScoreEntry.objects.filter(contact=other).exists()
    worker.join()

    assert len(chunks) >= 4
    # One that it came upon, and one that may have begun before it could look again.
    assert max(waited) <= 2, (waited, len(chunks))
    assert scored > 0
    is_as_at_once(workspace, kept)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["merge", "undo"])
def test_a_killed_merge_is_gone_on_with(workspace, pair, way, monkeypatch):
    kept, gone = pair
    alone = scores(workspace)
    merge = merge_contacts(workspace.id, kept, gone)
    if way == "undo":
        finish_merge(merge)
        merge = undo_merge(workspace.id, merge)
    for _ in range(TIMES):
        before = moved()
        with subprocess.Popen(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", CONTINUE],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": address_of_database()},
            stdout=subprocess.DEVNULL,
        ) as working:
            wait_for(lambda before=before: moved() > before or Merge.objects.get().status == "done", 60)
            working.kill()
    merge.refresh_from_db()
    assert merge.status == "running"

    assert MERGES.run_all() == "done"

    if way == "undo":
        assert scores(workspace) == alone
        is_as_at_once(workspace, kept, gone)
    else:
        assert scores(workspace) == {kept.id: 2 * EVENTS + 6}
        is_as_at_once(workspace, kept)


CONTINUE = "from contacts.merging.reassignment import MERGES; MERGES.run_all()"


def calculation_in_progress():
    """Return how far the calculation of the new survivor's entries is; None: there is none."""
    for unfinished in Merge.objects.unfinished().values_list("cursor", flat=True):
        for moving in unfinished["left"].values():
            if (known := moving.get("calculation")) and known["contact"] == unfinished["new"]:
                return known
    return None


def go_on_until_calculating():
    while (known := calculation_in_progress()) is None or not known["number"]:
        assert MERGES.run_all(at_most_seconds=-1) == "more"


def buy_late(workspace, name, **ago):
    late = IncomingEvent("buy", by_email(f"{name}@example.test"), occurred_at=clock.now() - timedelta(**ago))
    record_event(workspace, late, schema_policy=SchemaPolicy.OPEN)


def rescore_all(workspace):
    for rule in ScoringRule.with_deleted.in_workspace(workspace.id).rescoring():
        for lane in range(LANE_COUNT):
            rescore_lane(workspace.id, rule.id, lane)


def test_an_entry_among_those_calculated_starts_the_calculation_anew(workspace, small):
    kept, gone = small
    merge_contacts(workspace.id, kept, gone)
    go_on_until_calculating()
    tries = []
    while (known := calculation_in_progress()) is not None:
        tries.append(known["tries"])
        buy_late(workspace, ("kept", "gone")[len(tries) % 2], hours=1, minutes=len(tries))
        apply_effects(workspace.id)
        MERGES.run_all(at_most_seconds=-1)
    # The third time all are calculated under a lock.
    assert set(tries) == {1, 2, 3}
    MERGES.run_all()
    assert ScoreEntry.objects.filter(contact=kept).count() == 20 + 2 * len(tries)
    is_as_at_once(workspace, kept)


@pytest.mark.parametrize("values", [{"limit_count": 4}, {"points": 5, "rescore": True}])
def test_a_rule_is_edited_and_rescored_while_it_is_calculated(workspace, small, values):
    kept, gone = small
    merge_contacts(workspace.id, kept, gone)
    go_on_until_calculating()
    rule = ScoringRule.objects.get(name="limited")
    save_rule(rule, **values)
    # Some entries are calculated as they were before their lane was re-scored.
    MERGES.run_all(at_most_seconds=-1)
    assert calculation_in_progress()
    rescore_lane(workspace.id, rule.id, lane_of(kept.id))
    MERGES.run_all()
    rescore_all(workspace)
    is_as_at_once(workspace, kept)


@pytest.mark.parametrize("way", ["merge", "undo"])
@pytest.mark.parametrize("steps", [0, 2])
def test_entries_moved_by_others_meanwhile_are_calculated_too(workspace, small, way, steps):
    kept, gone = small
    merge = merge_contacts(workspace.id, kept, gone)
    if way == "undo":
        finish_merge(merge)
        merge = undo_merge(workspace.id, merge)
    for _ in range(steps):
        MERGES.run_all(at_most_seconds=-1)
    if way == "undo":
        with lock_lane(workspace.id, lane_of(kept.id)):
            rescore_contacts(workspace.id, [kept.id])
    else:
        save_rule(ScoringRule.objects.get(name="limited"), points=3, rescore=True)
        rescore_all(workspace)
    MERGES.run_all()
    is_as_at_once(workspace, *([kept, gone] if way == "undo" else [kept]))
    assert RuleScore.objects.filter(contact=gone).exists() is (way == "undo")


class Meddling:
    """What others do at random while contacts are merged and parted a few rows at a time."""

    def __init__(self, workspace, both, chance):
        self.workspace, self.both, self.chance = workspace, both, chance
        self.merge = None

    def do_something(self):
        name = self.chance.choice(
            ["process_batches"] * 6
            + ["buy", "buy_late", "apply", "regroup", "edit", "rescore", "by_hand", "repair", "tag"]
        )
        getattr(self, name)()

    def process_batches(self):
        MERGES.run_all(at_most_seconds=-1)

    def buy(self):
        buy(self.workspace, self.chance.choice(["kept", "gone"]))

    def buy_late(self):
        ago = {"days": self.chance.randrange(3), "minutes": self.chance.randrange(600)}
        buy_late(self.workspace, self.chance.choice(["kept", "gone"]), **ago)

    def apply(self):
        apply_effects(self.workspace.id)

    def regroup(self):
        try:
            if self.merge is None:
                self.merge = merge_contacts(self.workspace.id, *self.both)
            else:
                undo_merge(self.workspace.id, self.merge)
                self.merge = None
        except MergeInProgress:
            return

    def edit(self):
        rule = self.chance.choice(list(ScoringRule.objects.filter(workspace=self.workspace).order_by("name")))
        values = self.chance.choice(
            [
                {"points": self.chance.randrange(1, 5)},
                {"limit_count": self.chance.choice([None, 1, 2, 4])},
                {"decay_points": None, "decay_days": None},
                {"decay_points": 1, "decay_days": 1},
                {"max_score": self.chance.choice([None, 6])},
                {"active": self.chance.random() < 0.7},
                {"condition": self.chance.choice([None, OFTEN, NEVER])},
            ]
        )
        save_rule(rule, rescore=self.chance.random() < 0.5, **values)

    def rescore(self):
        for rule in ScoringRule.with_deleted.in_workspace(self.workspace.id).rescoring():
            for one in self.both:
                if self.chance.random() < 0.5:
                    rescore_lane(self.workspace.id, rule.id, lane_of(one.id))

    def by_hand(self):
        one = self.chance.choice(self.both)
        with lock_lane(self.workspace.id, lane_of(one.id)):
            rescore_contacts(self.workspace.id, [one.id])

    def repair(self):
        repair_contacts(self.workspace.id, [one.id for one in self.both])

    def tag(self):
        tag_contact(self.workspace.id, self.chance.choice(self.both), "vip")

    def finish(self):
        MERGES.run_all()
        rescore_all(self.workspace)
        while EventBatch.objects.filter(workspace=self.workspace).exists():
            apply_effects(self.workspace.id)
        self.apply()


OFTEN = did("buy", operator="gte", value=3)
NEVER = {"field": "metadata.amount", "operator": "gt", "value": 1}


@pytest.mark.parametrize("seed", range(scaled(4, 20)))
def test_whatever_others_do_meanwhile_it_comes_to_what_the_stream_says(workspace, small, seed):
    a_segment(workspace, every(attribute("score", "gte", 12)))
    meddling = Meddling(workspace, small, random.Random(seed))
    meddling.regroup()
    for _ in range(40):
        meddling.do_something()
    meddling.finish()
    is_as_at_once(workspace, *(small if meddling.merge is None else small[:1]))
    assert not verify_segments(workspace.id).differences


@pytest.mark.parametrize("steps", [0, 1, 3, 7])
def test_a_person_of_whom_another_is_parted_is_given_nothing_of_it(workspace, small, steps):
    kept, gone = small
    merge = merge_contacts(workspace.id, kept, gone)
    for _ in range(steps):
        MERGES.run_all(at_most_seconds=-1)
    assert len(exported(workspace.id, gone)["scoreEntries"]) == 20
    finish_merge(merge)
    merge = undo_merge(workspace.id, merge)
    for _ in range(steps):
        MERGES.run_all(at_most_seconds=-1)
    api = NativeClient(workspace)
    for one in small:
        with pytest.raises(MergeInProgress):
            exported(workspace.id, one)
        assert api.get(f"contacts/{one.id}/export").status_code == 409
    finish_merge(merge)
    assert [len(exported(workspace.id, one)["scoreEntries"]) for one in small] == [10, 10]


@pytest.mark.parametrize("place", [0, 1])
def test_either_side_is_erased_or_the_workspace_is_gone_in_the_middle(workspace, small, place):
    merge_contacts(workspace.id, *small)
    go_on_until_calculating()
    erase_person(workspace.id, small[place])
    ERASURES.run_all()
    assert MERGES.run_all() == "nothing"
    for model in (Merge, ScoreEntry, RuleScore, ContactScore, Contact):
        assert not model.objects.filter(workspace=workspace).exists(), model

    both = [a_contact(workspace, f"{name}@other.test") for name in ("kept", "gone")]
    for one in both:
        record_event(
            workspace,
            IncomingEvent("buy", ContactReference(id=str(one.id))),
            schema_policy=SchemaPolicy.OPEN,
        )
    apply_effects(workspace.id)
    assert merge_contacts(workspace.id, *both).status == "running"
    MERGES.run_all(at_most_seconds=-1)
    workspace.delete()
    assert MERGES.run_all() == "nothing"
