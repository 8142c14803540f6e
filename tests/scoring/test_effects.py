"""In any order, batches and delays the stored score equals a calculation from scratch, at every moment."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import SystemRandom

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from config import clock, ids
from contacts.models import Contact, ContactScore, Tag
from contacts.references import ContactReference
from events.models import EffectsLevel, Event, ParkedEffect, Timer
from events.processing.passes import DueTimer, EffectBatch, EffectEvent, apply_effects
from events.stream.outbox import enqueue_events
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.effects import apply_scoring_rules
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rule_scores import SCORE_TIMER_KEY
from scoring.rules import delete_rule, save_rule
from tests.contacts.factories import a_contact
from tests.scale import scaled
from tests.scoring.conftest import VirtualClock
from tests.scoring.factories import a_rule
from tests.scoring.histories import (
    assert_marks_are_right,
    assert_only_ordered_rules_keep_a_state,
    expected_scores,
    score_of,
    send,
    stored_scores,
)
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, tzinfo=UTC)
points = st.decimals(-20, 20, places=2)


@pytest.fixture(autouse=True)
def _scores_only(settings):
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]


@st.composite
def terms(draw):
    """Return what a rule gives and how it adds up; often nothing special."""
    lowest, highest = sorted(draw(st.tuples(points, points)))
    decays = draw(st.booleans())
    return {
        "points": draw(points),
        "decay_points": draw(st.decimals("0.5", 10, places=1)) if decays else None,
        "decay_days": draw(st.integers(1, 20)) if decays else None,
        "min_score": draw(st.sampled_from([None, None, lowest])),
        "max_score": draw(st.sampled_from([None, None, highest])),
        "limit_count": draw(st.sampled_from([None, None, 1, 2])),
        "limit_period": draw(st.sampled_from(ScoringRule.Period.values)),
    }


# A sending: who, how many hours late, an amount.
sendings = st.lists(
    st.tuples(st.sampled_from(["ada", "bob"]), st.integers(0, 24 * 60), st.integers(0, 9)),
    min_size=1,
    max_size=6,
)
steps = st.lists(st.tuples(sendings, st.integers(0, 24 * 30), st.booleans()), min_size=1, max_size=6)


@given(st.lists(terms(), min_size=1, max_size=4), steps, st.integers(1, 5))
@examples(
    max_examples=scaled(12, 25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_score_equals_a_calculation_from_scratch(settings, all_terms, all_steps, size):
    settings.EFFECTS_BATCH_SIZE = size
    workspace = WorkspaceFactory()
    with pytest.MonkeyPatch.context() as patch:
        time = VirtualClock(START)
        patch.setattr(clock, "now", time)
        # Hypothesis seeds chance anew for each example, and ids must differ.
        patch.setattr(ids, "random", SystemRandom())
        rules = [
            a_rule(
                workspace, "buy", condition={"field": "metadata.amount", "operator": "gte", "value": n}, **one
            )
            for n, one in enumerate(all_terms)
        ]
        amounts = {rule.id: n for n, rule in enumerate(rules)}
        for sending, hours, is_applied in [*all_steps, ([], 24 * 400, True)]:
            if sending:
                now = time()
                send(
                    workspace,
                    *(
                        (who, now - timedelta(hours=late), {"amount": amount})
                        for who, late, amount in sending
                    ),
                )
            if not is_applied:
                continue
            for length in (0, hours):
                moment = time.pass_(hours=length)
                apply_effects(workspace.id)
                expected = expected_scores(
                    workspace,
                    rules,
                    moment,
                    lambda rule, event: event.properties["amount"] >= amounts[rule.id],
                )
                assert stored_scores(workspace) == expected
    assert_marks_are_right(workspace, rules)
    assert_only_ordered_rules_keep_a_state(workspace, rules)
    assert not Timer.objects.filter(workspace_id=workspace.id, due_at__lte=time())


def test_a_score_decays_at_its_moment_and_no_look_is_taken_after_the_last_one(workspace, time):
    a_rule(workspace, "buy", 10, decay_points=Decimal(4), decay_days=2)
    send(workspace, ("ada", None, {}))
    apply_effects(workspace.id)
    (due,) = Timer.objects.values_list("timer_key", "due_at")
    assert due == (SCORE_TIMER_KEY, time() + timedelta(days=2))

    time.pass_(days=2, microseconds=-1)
    assert apply_effects(workspace.id) == "nothing"
    assert score_of(workspace, "ada") == 10
    time.pass_(microseconds=1)
    assert apply_effects(workspace.id) == "done"
    assert score_of(workspace, "ada") == 6
    # Nobody looked for a while.
    time.pass_(days=30)
    apply_effects(workspace.id)
    assert score_of(workspace, "ada") == 0
    assert not Timer.objects.exists()


def test_a_deleted_contact_with_a_due_timer_gets_no_score(workspace, time):
    a_rule(workspace, "buy", 10, decay_points=Decimal(4), decay_days=2)
    send(workspace, ("ada", None, {}))
    apply_effects(workspace.id)
    Contact.objects.all().delete()
    time.pass_(days=3)
    apply_effects(workspace.id)
    assert not ContactScore.objects.exists()


def test_a_batch_notes_the_contacts_whose_score_changed(workspace, time):
    a_rule(workspace, "buy", 1)
    a_rule(workspace, "pay", 5, max_score=Decimal(5), decay_points=Decimal(1), decay_days=1)
    told = []
    for name in ("buy", "pay", "pay"):
        send(workspace, ("ada", None, {}), name=name)
        event = Event.objects.filter(name=name).latest("id")
        batch = a_batch(workspace, event)
        apply_scoring_rules(batch)
        told.append(bool(batch.scores_changed))
    # The last one hit the cap.
    assert told == [True, True, False]
    now = time.pass_(days=1)
    ada = Contact.objects.get()
    batch = EffectBatch(workspace.id, [], now, [DueTimer(SCORE_TIMER_KEY, ada.id, now)])
    apply_scoring_rules(batch)
    assert batch.scores_changed == {ada.id}
    assert score_of(workspace, "ada") == 5


def a_batch(workspace, event):
    return EffectBatch(
        workspace.id,
        [EffectEvent(event.id, event.contact_id, event.name, event.occurred_at, "api", 0, 2)],
        clock.now(),
    )


def test_what_comes_in_order_does_not_read_the_ledger(workspace, time):
    a_rule(workspace, "buy", 1, max_score=Decimal(500), limit_count=3, limit_period="day")
    send(workspace, *[("ada", None, {})] * 5)
    apply_effects(workspace.id)
    time.pass_(days=1)
    send(workspace, ("ada", None, {}))
    # Were the ledger read, this would be seen.
    ScoreEntry.objects.all().delete()
    apply_effects(workspace.id)
    assert score_of(workspace, "ada") == 4


def test_a_late_event_supersedes_a_later_one(workspace, time):
    rule = a_rule(workspace, "buy", 1, limit_count=1, limit_period="day", max_score=Decimal(1))
    send(workspace, ("ada", None, {}))
    apply_effects(workspace.id)
    (first,) = ScoreEntry.objects.filter(rule=rule)
    send(workspace, ("ada", time() - timedelta(hours=1), {}))
    apply_effects(workspace.id)
    first.refresh_from_db()
    assert first.is_superseded
    assert ScoreEntry.objects.filter(is_superseded=False).count() == 1
    assert score_of(workspace, "ada") == 1


@pytest.mark.parametrize(
    ("period", "inside", "outside"),
    [
        ("day", timedelta(hours=11), timedelta(hours=12)),
        ("week", timedelta(days=6, hours=11), timedelta(days=6, hours=12)),
        ("month", timedelta(days=28), timedelta(days=29)),
        ("year", timedelta(days=59), timedelta(days=60)),
        ("ever", timedelta(days=900), None),
    ],
)
def test_a_limit_counts_calendar_periods_in_utc(workspace, time, period, inside, outside):
    """From Monday, 2 November 2026, noon."""
    a_rule(workspace, "buy", 1, limit_count=1, limit_period=period)
    send(workspace, ("ada", None, {}))
    for length, score in ((inside, 1), (outside, 2)):
        if length is not None:
            time.moment = datetime(2026, 11, 2, 12, tzinfo=UTC) + length
            send(workspace, ("ada", None, {}))
            apply_effects(workspace.id)
            assert score_of(workspace, "ada") == score


def test_a_condition_may_ask_for_the_contact_and_what_it_did(workspace, time):
    """As of the event's own moment, whatever the batch."""
    third = {"type": "event", "eventType": "buy", "operator": "gte", "value": 3, "timeWindow": "7d"}
    a_rule(workspace, "buy", 1, third)
    a_rule(workspace, "buy", 10, {"operator": "NOT", "conditions": [{"type": "tag", "value": "vip"}]})
    a_rule(
        workspace,
        "buy",
        100,
        {
            "operator": "AND",
            "conditions": [third, {"field": "metadata.amount", "operator": "eq", "value": 4}],
        },
        limit_count=1,
    )
    start = time()
    time.pass_(days=9)
    send(workspace, *(("ada", start + timedelta(days=day), {"amount": day}) for day in (0, 1, 2, 4, 9)))
    apply_effects(workspace.id)
    # The third and the fourth; on the ninth day two of the last week, and itself.
    assert score_of(workspace, "ada") == 2 + 50 + 100
    ada = Contact.objects.get()
    ada.contact_tags.create(workspace=workspace, tag=Tag.objects.create(workspace=workspace, name="vip"))
    send(workspace, ("ada", None, {"amount": 4}))
    apply_effects(workspace.id)
    # It is the third of its week; its contact is a vip by now.
    assert score_of(workspace, "ada") == 153


def test_a_condition_on_the_clock_is_evaluated_as_of_the_event(workspace, time):
    a_rule(workspace, "book", 1, {"field": "metadata.arrival", "operator": "within", "value": "+7d"})
    arrival = (time() + timedelta(days=3)).isoformat()
    send(workspace, ("ada", time() - timedelta(days=5), {"arrival": arrival}), name="book")
    send(workspace, ("ada", None, {"arrival": arrival}), name="book")
    apply_effects(workspace.id)
    assert score_of(workspace, "ada") == 1


class TestEdits:
    """From when on a rule holds, and what stays."""

    def test_a_new_rule_leaves_alone_what_was_received_before_it(self, workspace, time):
        send(workspace, ("ada", None, {}))
        time.pass_(seconds=1)
        a_rule(workspace, "buy", 1)
        apply_effects(workspace.id)
        assert stored_scores(workspace) == {}

    def test_no_event_falls_between_the_old_rule_and_the_new(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}))
        time.pass_(seconds=1)
        save_rule(rule, points=Decimal(5))
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 5

    def test_an_event_processed_before_a_rule_was_made_earns_nothing_by_it(self, workspace, time):
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        rule = a_rule(workspace, "buy", 1)
        time.pass_(seconds=1)
        save_rule(rule, points=Decimal(5))
        events = list(Event.objects.filter(name="buy").values_list("id", "contact_id"))
        enqueue_events(workspace.id, events, level=2, is_repeat=True)
        apply_effects(workspace.id)
        assert stored_scores(workspace) == {}

    def test_a_deleted_rule_gives_no_more_and_what_it_gave_goes_on_to_decay(self, workspace, time):
        rule = a_rule(workspace, "buy", 10, decay_points=Decimal(1), decay_days=1)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        delete_rule(rule)
        send(workspace, ("ada", None, {}))
        time.pass_(days=3)
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 7

    def test_a_rule_whose_points_added_up_begins_to_be_bounded(self, workspace, time):
        """An event recalculates the ledger of its contact before a worker does."""
        rule = a_rule(workspace, "buy", 10)
        send(workspace, *[("ada", None, {})] * 4)
        apply_effects(workspace.id)
        save_rule(rule, max_score=Decimal(25))
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 25
        save_rule(rule, max_score=Decimal(100))
        time.pass_(seconds=1)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 60
        save_rule(rule, max_score=None)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 70
        assert not RuleScore.objects.exists()


def test_a_rule_that_fails_is_parked_whatever_its_terms(workspace, time):
    good = a_rule(workspace, "buy", 1, max_score=Decimal(5))
    bad = a_rule(workspace, "buy", 3, max_score=Decimal(5))
    ScoringRule.objects.filter(id=bad.id).update(condition={"field": "metadata.a", "operator": "gone"})
    send(workspace, ("ada", None, {}))
    apply_effects(workspace.id)
    assert score_of(workspace, "ada") == good.points
    assert ParkedEffect.objects.get().subject == f"rule:{bad.id}"


def test_history_that_is_parked_with_a_rule_beside_what_happens_stays_history(workspace, time):
    bad = a_rule(workspace, "buy", 3)
    ScoringRule.objects.filter(id=bad.id).update(condition={"field": "metadata.a", "operator": "gone"})
    levels = (EffectsLevel.SCORES_AND_SEGMENTS, EffectsLevel.ALL)
    who = [IncomingEvent("buy", ContactReference(id=str(a_contact(workspace).id))) for _ in levels]
    for event, level in zip(who, levels, strict=True):
        record_events(workspace.id, [event], schema_policy=SchemaPolicy.OPEN, level=level)
    apply_effects(workspace.id)
    parked = ParkedEffect.objects.filter(subject=f"rule:{bad.id}")
    assert {(row.level, len(row.event_ids)) for row in parked} == {(level, 1) for level in levels}
