"""An edit for all history, an edit from now on, and contacts that turn out to be one."""

import threading
from datetime import timedelta
from decimal import Decimal
from random import SystemRandom

import pytest
from django.db import connection
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from config import clock, ids
from config.runtime import background
from contacts.models import Contact, ContactScore, ContactTag, Tag
from events.models import EffectsLevel, Event, Timer
from events.processing.passes import apply_effects
from events.stream.derived_events import MAX_DEPTH, DerivedEvent, record_derived_events
from events.stream.outbox import LANE_COUNT
from scoring import rescoring
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rescoring import rescore_contacts, rescore_lane
from scoring.rule_scores import SCORE_TIMER_KEY
from scoring.rules import RESCORES, delete_rule, rescore_rule, save_rule
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
from tests.scoring.test_effects import START, sendings, terms
from tests.workspaces.factories import WorkspaceFactory
from workspaces import tasks
from workspaces.models import BackfillJob


@pytest.fixture(autouse=True)
def _scores_only(settings):
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]


def work_off(rule):
    """Do what the workers do for a rule that is to be re-scored."""
    for lane in range(LANE_COUNT):
        rescore_lane(rule.workspace_id, rule.id, lane)
    rule.refresh_from_db()
    assert not rule.is_rescoring


@pytest.mark.django_db
class TestRules:
    """A rule is edited."""

    def test_for_all_history(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(
            workspace,
            ("ada", None, {"amount": 5}),
            ("ada", None, {"amount": 1}),
            ("bob", None, {"amount": 1}),
        )
        apply_effects(workspace.id)
        condition = {"field": "metadata.amount", "operator": "gte", "value": 5}
        save_rule(rule, rescore=True, points=Decimal(7), condition=condition)
        assert score_of(workspace, "ada") == 2
        work_off(rule)
        assert (score_of(workspace, "ada"), score_of(workspace, "bob")) == (7, None)
        assert ScoreEntry.objects.count() == 1

    def test_from_now_on(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        time.pass_(seconds=1)
        save_rule(rule, points=Decimal(7))
        assert not rule.is_rescoring
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 8
        rescore_contacts(workspace.id, [Contact.objects.get().id])
        assert score_of(workspace, "ada") == 8

    def test_a_new_rule_for_all_history(self, workspace, time, monkeypatch):
        monkeypatch.setattr("scoring.rescoring.CHUNK", 1)
        send(workspace, ("ada", None, {}), ("bob", None, {}))
        apply_effects(workspace.id)
        rule = ScoringRule(workspace=workspace, name="r", event_name="buy", points=Decimal(3))
        save_rule(rule, rescore=True)
        work_off(rule)
        assert set(stored_scores(workspace).values()) == {3}

    def test_an_edit_of_limits_applies_to_the_whole_ledger_at_once(self, workspace, time):
        rule = a_rule(workspace, "buy", 10)
        send(workspace, *[("ada", None, {})] * 4)
        apply_effects(workspace.id)
        save_rule(rule, max_score=Decimal(25), decay_points=Decimal(5), decay_days=1)
        assert rule.is_rescoring
        assert rule.effective_from is not None
        time.pass_(days=2)
        work_off(rule)
        assert score_of(workspace, "ada") == 15
        time.pass_(days=1)
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 10
        save_rule(rule, max_score=None, decay_points=None, decay_days=None, limit_count=3)
        work_off(rule)
        assert score_of(workspace, "ada") == 30
        save_rule(rule, limit_count=None)
        work_off(rule)
        assert score_of(workspace, "ada") == 40
        assert not RuleScore.objects.exists()

    def test_an_inactive_rule_gives_nothing_to_history(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        save_rule(rule, active=False)
        work_off_if_any(rule)
        assert score_of(workspace, "ada") == 1
        save_rule(rule, rescore=True)
        work_off(rule)
        assert score_of(workspace, "ada") is None

    def test_events_that_ended_a_loop_earn_nothing_later_either(self, workspace, time):
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        ada = Contact.objects.get()
        for depth in (MAX_DEPTH, MAX_DEPTH + 1):
            looped = DerivedEvent("loop", ada.id, time(), level=EffectsLevel.ALL, depth=depth)
            record_derived_events(workspace.id, [looped], now=time())
        rule = ScoringRule(workspace=workspace, name="r", event_name="loop", points=Decimal(3))
        save_rule(rule, rescore=True)
        work_off(rule)
        apply_effects(workspace.id)
        assert score_of(workspace, "ada") == 3

    def test_points_of_deleted_events_stay(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}), ("ada", None, {}))
        apply_effects(workspace.id)
        Event.objects.filter(id=Event.objects.filter(name="buy").first().id).delete()
        save_rule(rule, rescore=True, points=Decimal(5))
        work_off(rule)
        assert score_of(workspace, "ada") == 6

    def test_an_edit_stops_the_work_that_was_under_way(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}))
        apply_effects(workspace.id)
        save_rule(rule, rescore=True, points=Decimal(2))
        for lane in range(LANE_COUNT // 2):
            rescore_lane(workspace.id, rule.id, lane)
        time.pass_(seconds=1)
        # What the rule of before gave is not all known yet: this one is for all history too.
        save_rule(rule, points=Decimal(3))
        assert rule.rescore_lanes_done == 0
        work_off(rule)
        assert score_of(workspace, "ada") == 3

    def test_a_change_of_the_name_re_scores_nothing(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        before = rule.effective_from
        time.pass_(seconds=1)
        save_rule(rule, name="other")
        assert (rule.effective_from, rule.rescore_started_at) == (before, None)

    def test_saving_a_stale_rule_keeps_the_rescore_progress(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        stale = ScoringRule.objects.get(id=rule.id)
        save_rule(rule, rescore=True)
        save_rule(stale, name="other")
        rule.refresh_from_db()
        assert rule.is_rescoring
        assert rule.name == "other"

    def test_a_deleted_rule_has_its_ledger_added_up_but_is_not_evaluated(self, workspace, time):
        rule = a_rule(workspace, "buy", 10)
        send(workspace, *[("ada", None, {})] * 2)
        apply_effects(workspace.id)
        save_rule(rule, rescore=True, points=Decimal(1), max_score=Decimal(15))
        delete_rule(rule)
        for lane in range(LANE_COUNT):
            rescore_lane(workspace.id, rule.id, lane)
        assert score_of(workspace, "ada") == 15

    def test_tasks_start_continue_and_resume_a_rescore(self, workspace, time, monkeypatch):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, *((str(n), None, {}) for n in range(3)))
        apply_effects(workspace.id)
        rescore_rule(rule)
        ScoringRule.objects.update(points=5)
        queue = []
        monkeypatch.setattr(background, "publish", lambda task, *args: queue.append((task, args)))
        monkeypatch.setattr(
            tasks.continue_job, "apply_async", lambda args, retry: queue.append(("continue_job", args))
        )
        # No message came; a while later somebody looks.
        assert tasks.continue_all_backfills() == "nothing"
        time.pass_(seconds=31)
        assert tasks.continue_all_backfills() == "done"
        assert tasks.continue_all_backfills() == "nothing"
        monkeypatch.setattr(tasks, "SLICE_SECONDS", 1e-9)
        monkeypatch.setattr("scoring.rescoring.CHUNK", 1)
        words = []
        while queue:
            task, args = queue.pop(0)
            words.append(getattr(tasks, task.rpartition(".")[2])(*args))
        assert words.count("done") == 1 + LANE_COUNT
        assert set(stored_scores(workspace).values()) == {5}
        assert tasks.continue_jobs(RESCORES, str(workspace.id), str(rule.id)) == "nothing"

    def test_a_killed_lane_goes_on_where_it_was(self, workspace, time, monkeypatch):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, *((str(n), None, {}) for n in range(40)))
        apply_effects(workspace.id)
        rescore_rule(rule)
        people = Contact.objects.in_workspace(workspace.id).values_list("id", flat=True).order_by("id")
        lanes = [[contact_id for contact_id in people if contact_id.int % 16 == lane] for lane in range(16)]
        lane, of_lane = max(enumerate(lanes), key=lambda item: len(item[1]))
        monkeypatch.setattr(rescoring, "CHUNK", 1)
        real, seen = rescoring._rescore, []

        def killed(workspace_id, contact_ids, *rest):
            if len(seen) == 2:
                raise KeyboardInterrupt
            seen.extend(contact_ids)
            return real(workspace_id, contact_ids, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(rescoring, "_rescore", killed)
            with pytest.raises(KeyboardInterrupt):
                rescore_lane(workspace.id, rule.id, lane)
        assert seen == of_lane[:2]
        assert BackfillJob.objects.get(part=lane).done == 2
        monkeypatch.setattr(rescoring, "_rescore", lambda *args: seen.extend(args[1]) or real(*args))
        rescore_lane(workspace.id, rule.id, lane)
        assert seen == of_lane
        assert BackfillJob.objects.get(part=lane).status == "done"

    def test_other_effects_see_scores_that_a_rescore_changes(self, workspace, time):
        rule = a_rule(workspace, "buy", 1)
        send(workspace, ("ada", None, {}), ("bob", None, {"amount": 1}))
        apply_effects(workspace.id)
        save_rule(rule, rescore=True, condition={"field": "metadata.amount", "operator": "exists"})
        work_off(rule)
        changed = Contact.objects.get(identifiers__value="ada@example.test")
        due = Timer.objects.filter(timer_key=SCORE_TIMER_KEY, due_at__lte=time())
        assert [timer.contact_id for timer in due] == [changed.id]


def work_off_if_any(rule):
    for lane in range(LANE_COUNT):
        rescore_lane(rule.workspace_id, rule.id, lane)


@given(terms(), terms(), sendings, sendings, st.sampled_from([True, False]))
@examples(
    max_examples=scaled(10, 20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@pytest.mark.django_db
def test_after_a_rescore_the_score_is_what_the_new_rule_gives(
    settings, old, new, first, then, is_applied_meanwhile
):
    workspace = WorkspaceFactory()
    with pytest.MonkeyPatch.context() as patch:
        time = VirtualClock(START)
        patch.setattr(clock, "now", time)
        patch.setattr(ids, "random", SystemRandom())
        rule = a_rule(workspace, "buy", **old)
        other = a_rule(workspace, "buy", 3, max_score=Decimal(7))
        _send(workspace, time, first)
        apply_effects(workspace.id)
        time.pass_(days=3)
        save_rule(rule, rescore=True, **new)
        for lane in range(LANE_COUNT):
            if lane == LANE_COUNT // 2:
                time.pass_(days=5)
                _send(workspace, time, then)
                if is_applied_meanwhile:
                    apply_effects(workspace.id)
            patch.setattr("scoring.rescoring.CHUNK", 1)
            rescore_lane(workspace.id, rule.id, lane)
        apply_effects(workspace.id)
        rule.refresh_from_db()
        assert stored_scores(workspace) == expected_scores(workspace, [rule, other], time())
        time.pass_(days=30)
        apply_effects(workspace.id)
        assert stored_scores(workspace) == expected_scores(workspace, [rule, other], time())
    assert_marks_are_right(workspace, [rule, other])
    assert_only_ordered_rules_keep_a_state(workspace, [rule, other])


def _send(workspace, time, sending):
    now = time()
    send(
        workspace, *((who, now - timedelta(hours=late), {"amount": amount}) for who, late, amount in sending)
    )


@pytest.mark.django_db
class TestMerging:
    """What an event earned counts for whom its contact reads as."""

    @pytest.fixture
    def pair(self, workspace, time):
        self.rules = [
            a_rule(workspace, "buy", 10, max_score=Decimal(15), decay_points=Decimal(1), decay_days=1),
            a_rule(workspace, "buy", 1, limit_count=1, limit_period="day"),
            a_rule(workspace, "buy", 100),
            a_rule(
                workspace, "buy", 1000, {"operator": "NOT", "conditions": [{"type": "tag", "value": "vip"}]}
            ),
        ]
        send(workspace, ("ada", None, {}), ("bob", time() - timedelta(hours=1), {}))
        apply_effects(workspace.id)
        return [Contact.objects.get(identifiers__value=f"{name}@example.test") for name in ("ada", "bob")]

    def merge(self, ada, bob):
        Contact.objects.filter(id=bob.id).update(merged_into=ada)
        rescore_contacts(ada.workspace_id, [ada.id, bob.id])

    def test_the_survivor_has_the_points_of_both(self, workspace, pair):
        ada, bob = pair
        self.merge(ada, bob)
        assert stored_scores(workspace) == {ada.id: 15 + 1 + 200 + 2000}
        assert set(ScoreEntry.objects.values_list("contact_id", flat=True)) == {ada.id}
        assert set(RuleScore.objects.values_list("contact_id", flat=True)) == {ada.id}

    def test_after_the_undo_each_contact_has_its_own_points(self, workspace, time, pair):
        ada, bob = pair
        before = _everything(workspace)
        self.merge(ada, bob)
        # Had it been evaluated again, the tag would take the thousands away.
        tag = Tag.objects.create(workspace=workspace, name="vip")
        ContactTag.objects.create(workspace=workspace, contact=ada, tag=tag)
        Contact.objects.filter(id=bob.id).update(merged_into=None)
        assert rescore_contacts(workspace.id, [ada.id, bob.id]) == {ada.id, bob.id}
        assert _everything(workspace) == before
        time.pass_(days=3)
        apply_effects(workspace.id)
        assert stored_scores(workspace) == {ada.id: 1108, bob.id: 1108}

    def test_a_rule_that_cannot_be_read_leaves_its_entries_and_stops_no_other(self, workspace, pair):
        ada, bob = pair
        with connection.cursor() as cursor:
            cursor.execute(
                """UPDATE scoring_scoringrule SET condition = '{"field": "amount"}' WHERE id = ANY(%s)""",
                [[self.rules[1].id, self.rules[2].id]],
            )
        self.merge(ada, bob)
        assert stored_scores(workspace) == {ada.id: 15 + 1 + 200 + 2000}
        assert set(ScoreEntry.objects.values_list("contact_id", flat=True)) == {ada.id}

    def test_a_contact_without_points_has_no_score_after_the_undo(self, workspace, time, pair):
        ada, bob = pair
        send(workspace, ("eve", None, {}), name="look")
        apply_effects(workspace.id)
        eve = Contact.objects.get(identifiers__value="eve@example.test")
        for survivor in (ada.id, None):
            Contact.objects.filter(id=eve.id).update(merged_into=survivor)
            rescore_contacts(workspace.id, [ada.id, eve.id])
        assert set(stored_scores(workspace)) == {ada.id, bob.id}


def _everything(workspace):
    entries = ScoreEntry.objects.filter(workspace=workspace).order_by("event_id", "rule_id")
    values = RuleScore.objects.filter(workspace=workspace).order_by("contact_id", "rule_id")
    return (
        stored_scores(workspace),
        list(entries.values_list("event_id", "rule_id", "contact_id", "points", "is_superseded")),
        list(values.values_list("contact_id", "rule_id", "value", "last_at", "counted", "included")),
    )


@pytest.mark.django_db(transaction=True)
def test_a_rescore_while_events_flow(monkeypatch):
    """Nothing is lost, nothing counts twice, whichever rule an event met first."""
    monkeypatch.setattr("scoring.rescoring.CHUNK", 2)
    workspace = WorkspaceFactory()
    rule = a_rule(workspace, "buy", 1)
    people, rounds, failures = 24, 12, []

    def work(job):
        try:
            job()
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    def ingest():
        for _ in range(rounds):
            send(workspace, *((str(person), None, {}) for person in range(people)))

    def apply():
        while ingesting.is_alive():
            apply_effects(workspace.id)

    def edit():
        for points in (2, 3):
            save_rule(rule, rescore=True, points=Decimal(points), max_score=Decimal(30))
            for lane in range(LANE_COUNT):
                rescore_lane(workspace.id, rule.id, lane)

    ingesting = threading.Thread(target=work, args=[ingest])
    others = [threading.Thread(target=work, args=[job]) for job in (apply, apply, edit)]
    for thread in (ingesting, *others):
        thread.start()
    for thread in (ingesting, *others):
        thread.join(60)
    apply_effects(workspace.id)
    assert not failures
    assert set(ContactScore.objects.values_list("points", flat=True)) == {Decimal(30)}
    assert ScoreEntry.objects.filter(points=3).count() == ScoreEntry.objects.count() == people * rounds
