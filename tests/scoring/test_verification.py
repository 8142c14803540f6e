"""`verify_scores` finds whatever was planted, `--repair` mends it, `rescore_contacts` does too."""

import uuid
from datetime import timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F

from contacts.models import Contact, ContactScore
from events.models import Event, Timer
from events.processing.passes import apply_effects
from events.rules import event_matching
from events.rules.compiler import comparisons
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rules import save_rule
from scoring.verification import verify_contacts
from tests.scoring.factories import a_rule
from tests.scoring.histories import send, stored_scores
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _scores_only(settings):
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]


@pytest.fixture
def workspace(db, time):
    """A workspace where all is well, for now."""
    workspace = WorkspaceFactory(name="Mill")
    a_rule(workspace, "buy", 10, max_score=Decimal(25), decay_points=Decimal(2), decay_days=1)
    a_rule(workspace, "buy", 1, {"field": "metadata.amount", "operator": "gte", "value": 5})
    a_rule(workspace, "buy", 3, limit_count=1, limit_period="day")
    a_rule(workspace, "buy", 100, {"type": "attribute", "field": "email", "operator": "exists"})
    now = time()
    for day in range(4):
        at = now - timedelta(days=day)
        send(workspace, *((who, at, {"amount": 4 + day}) for who in ("ada", "bob", "ada")))
        apply_effects(workspace.id)
    return workspace


def command(name, *arguments):
    out, err = StringIO(), StringIO()
    call_command(name, *arguments, stdout=out, stderr=err)
    return out.getvalue()


def everyone(workspace):
    return list(Contact.objects.filter(workspace=workspace).order_by("id").values_list("id", flat=True))


def differences(workspace):
    return [one.what for one in verify_contacts(workspace.id, everyone(workspace))]


def test_correct_scores_have_no_differences(workspace, time):
    assert differences(workspace) == []
    assert "2 contacts, 0 differ, 0 repaired" in command("verify_scores")
    # Somebody looks later than it is due.
    time.pass_(days=2)
    assert differences(workspace) == []
    apply_effects(workspace.id)
    assert differences(workspace) == []


def test_pending_events_are_no_difference(workspace, time):
    send(workspace, ("ada", None, {"amount": 9}))
    assert differences(workspace) == []


def test_what_an_old_rule_gave_is_no_difference(workspace, time):
    rule = ScoringRule.objects.get(points=1)
    time.pass_(seconds=1)
    save_rule(rule, points=Decimal(7), condition=None)
    assert differences(workspace) == []


def test_a_running_rescore_is_no_difference(workspace, time):
    save_rule(ScoringRule.objects.get(points=1), points=Decimal(7), rescore=True)
    assert differences(workspace) == []


def _wrong_score(workspace):
    ContactScore.objects.filter(contact=everyone(workspace)[0]).update(points=1)


def _lost_entry(workspace):
    ScoreEntry.objects.filter(rule__points=1).first().delete()


def _lost_ledger(workspace):
    ScoreEntry.objects.filter(rule__points__in=[1, 3, 10]).delete()


def _wrong_points(workspace):
    entry = ScoreEntry.objects.filter(rule__points=1).first()
    ScoreEntry.objects.filter(id=entry.id).update(points=2)
    ContactScore.objects.filter(contact_id=entry.contact_id).update(
        points=ContactScore.objects.get(contact_id=entry.contact_id).points + 1
    )


def _unearned_entry(workspace):
    event = Event.objects.filter(properties__amount=4, name="buy").first()
    rule = ScoringRule.objects.get(points=1)
    ScoreEntry.objects.create(
        workspace=workspace,
        contact_id=event.contact_id,
        rule=rule,
        event_id=event.id,
        points=1,
        occurred_at=event.occurred_at,
    )


def _anothers_entry(workspace):
    ada, bob = everyone(workspace)
    entry = ScoreEntry.objects.filter(rule__points=1, contact=ada).first()
    ScoreEntry.objects.filter(id=entry.id).update(contact_id=bob)


def _wrong_mark(workspace):
    entry = ScoreEntry.objects.filter(rule__points=3, is_superseded=True).first()
    ScoreEntry.objects.filter(id=entry.id).update(is_superseded=False)


def _wrong_value(workspace):
    RuleScore.objects.filter(rule__points=10, contact=everyone(workspace)[1]).update(value=3)


def _wrong_included(workspace):
    row = RuleScore.objects.get(rule__points=10, contact=everyone(workspace)[1])
    RuleScore.objects.filter(id=row.id).update(included=row.included + 1)
    ContactScore.objects.filter(contact=row.contact_id).update(
        points=ContactScore.objects.get(contact=row.contact_id).points + 1
    )


def _unknown_value(workspace):
    RuleScore.objects.create(
        workspace=workspace,
        contact_id=everyone(workspace)[0],
        rule=ScoringRule.objects.get(points=1),
        value=0,
        included=0,
        last_at=Event.objects.first().occurred_at,
        last_event_id=uuid.uuid4(),
    )


def _nobody_looks(workspace):
    Timer.objects.filter(contact_id=everyone(workspace)[0]).delete()


PLANTED = [
    _wrong_score,
    _lost_entry,
    _lost_ledger,
    _wrong_points,
    _unearned_entry,
    _anothers_entry,
    _wrong_mark,
    _wrong_value,
    _wrong_included,
    _unknown_value,
    _nobody_looks,
]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_difference_is_found_and_repaired(workspace, plant):
    right = stored_scores(workspace)
    plant(workspace)
    assert differences(workspace)
    with pytest.raises(CommandError) as caught:
        command("verify_scores")
    assert caught.value.returncode == 1
    assert "0 repaired" not in command("verify_scores", "--repair")
    assert differences(workspace) == []
    assert stored_scores(workspace) == right
    assert "0 differ" in command("verify_scores", f"--workspace={workspace.id}", "--batch-size=1")


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_backfill_repairs_a_wrong_score(workspace, plant):
    right = stored_scores(workspace)
    plant(workspace)
    command("rescore_contacts", "--dry-run")
    assert differences(workspace)
    command("rescore_contacts", "--batch-size=1")
    assert differences(workspace) == []
    assert stored_scores(workspace) == right


def test_a_backfill_tells_what_it_would_change(workspace, time):
    ContactScore.objects.all().update(points=0)
    assert "2 contacts, 2 scores changed, 0 failed (dry run" in command("rescore_contacts", "--dry-run")
    assert set(ContactScore.objects.values_list("points", flat=True)) == {0}
    assert command("rescore_contacts").strip().endswith("2 contacts, 2 scores changed, 0 failed")
    soon = (time() + timedelta(seconds=1)).isoformat()
    assert (
        command("rescore_contacts", f"--since={soon}")
        .strip()
        .endswith(": 0 contacts, 0 scores changed, 0 failed")
    )
    assert (
        command("rescore_contacts", f"--since={time().isoformat()}")
        .strip()
        .endswith(": 2 contacts, 0 scores changed, 0 failed")
    )


def test_a_sample_is_of_the_size_that_was_asked_for(workspace):
    assert "1 contacts, 0 differ" in command("verify_scores", "--sample=1")
    assert "2 contacts, 0 differ" in command("verify_scores", "--sample=9")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("verify_scores", "--sample=0"),
        ("verify_scores", "--workspace=x"),
        ("rescore_contacts", "--since=yesterday"),
        ("rescore_contacts", "--since=2026-11-02T12:00:00"),
        ("rescore_contacts", "--batch-size=0"),
    ],
)
def test_an_option_that_means_nothing_is_refused(db, name, option):
    with pytest.raises(CommandError):
        command(name, option)


def test_a_condition_that_the_system_takes_for_another_is_found(workspace, time, monkeypatch):
    """What is compiled wrongly is evaluated wrongly everywhere; the verification asks nothing that is compiled."""
    real = comparisons.compile_operator

    def mistaken(operator, column, value):
        return real("gt" if operator == "gte" else operator, column, value)

    monkeypatch.setattr(comparisons, "compile_operator", mistaken)
    # What was compiled before is kept.
    event_matching._compiled.cache_clear()
    send(workspace, ("ada", time(), {"amount": 5}))
    apply_effects(workspace.id)
    event_matching._compiled.cache_clear()
    (what,) = differences(workspace)
    assert "earned nothing under rule" in what


def test_what_a_condition_on_earlier_events_should_have_given_differs(workspace, time):
    rule = a_rule(
        workspace,
        "pay",
        7,
        {"type": "event", "eventType": "pay", "timeWindow": "1h", "operator": "gte", "value": 2},
    )
    time.pass_(seconds=30)
    send(workspace, ("ada", None, {}), name="pay")
    time.pass_(seconds=30)
    send(workspace, ("ada", None, {}), name="pay")
    apply_effects(workspace.id)
    assert differences(workspace) == []

    (entry,) = ScoreEntry.objects.filter(rule=rule)
    ScoreEntry.objects.filter(rule=rule).delete()
    ContactScore.objects.filter(contact_id=entry.contact_id).update(points=F("points") - 7)

    assert differences(workspace) == [f"event {entry.event_id} earned nothing under rule {rule.id}"]
    assert "1 differ, 1 repaired" in command("verify_scores", "--repair")
    assert differences(workspace) == []
    assert ScoreEntry.objects.get(rule=rule).event_id == entry.event_id


def test_an_outcome_that_later_events_would_change_is_no_difference(workspace, time):
    a_rule(
        workspace,
        "pay",
        7,
        {"type": "event", "eventType": "pay", "timeWindow": "1h", "operator": "gte", "value": 2},
    )
    time.pass_(seconds=30)
    send(workspace, ("ada", None, {}), name="pay")
    apply_effects(workspace.id)
    time.pass_(seconds=30)
    # It counts itself and the one before; of that one nothing was known.
    send(workspace, ("ada", time() - timedelta(minutes=5), {}), name="pay")
    apply_effects(workspace.id)
    assert differences(workspace) == []
