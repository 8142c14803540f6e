"""What a pass of the effects asks the database where nothing cares for what came, and that what cares is heard.

BEGIN and COMMIT aside, but with savepoints.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config import clock
from contacts.models import Contact, ContactScore
from contacts.references import ContactReference
from events.models import EventDefinition
from events.processing.passes import apply_effects, bump_rules_version, process_wake_up
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.rules import save_rule
from tests.campaigns.factories import a_campaign, definition, enrollments_of, marks, node, on_event
from tests.contacts.factories import a_contact
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, attribute, did, every, in_segment, tell, who_is_in
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)
PROMISED = 5


@pytest.fixture
def workspace() -> Workspace:
    return WorkspaceFactory()


@pytest.fixture
def jane(workspace: Workspace) -> Contact:
    return a_contact(workspace, "jane@example.test")


def statements_of(work: Callable[[], object]) -> list[str]:
    """Return what some work asks the database."""
    with CaptureQueriesContext(connection) as captured:
        work()
    return [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]


def one_pass(workspace: Workspace) -> list[str]:
    return statements_of(lambda: process_wake_up(workspace.id, at_most_seconds=0))


def make_all_kinds(workspace: Workspace) -> None:
    """Make rules of every kind; none speaks of visits."""
    a_rule(workspace, "buy", 1)
    a_rule(workspace, "pay", 1, decay_points=1, decay_days=1)
    big = a_segment(workspace, every(did("buy", timeWindow="7d"), attribute("email", "exists")))
    a_segment(workspace, did("pay"))
    a_segment(workspace, every(in_segment(big), attribute("score", "gte", 3)))
    waits = node("wait", "waitForEvent", eventType="pay", timeout="1d")
    a_campaign(
        workspace,
        definition(
            waits, marks(), edges=[("wait", "mark", "event")], goal={"eventType": "buy", "within": "7d"}
        ),
    )


class TestNothingCares:
    """A pass that nobody cares for is cheap, whatever came."""

    @pytest.fixture(autouse=True)
    def _rules(self, workspace: Workspace, jane: Contact) -> None:
        make_all_kinds(workspace)
        apply_effects(workspace.id)
        # The first pass under these rules reads them.
        tell(workspace, jane, "visit")
        apply_effects(workspace.id)

    def test_new_events(self, workspace: Workspace, jane: Contact) -> None:
        for name in ("visit", "view", "visit"):
            tell(workspace, jane, name)
        statements = one_pass(workspace)
        assert 0 < len(statements) <= PROMISED, "\n".join(statements)

    def test_events_that_happened_before_they_came(self, workspace: Workspace, jane: Contact) -> None:
        tell(workspace, jane, "visit", at=clock.now() - timedelta(minutes=2))
        tell(workspace, jane, "visit", at=clock.now() - timedelta(days=30))
        assert 0 < len(one_pass(workspace)) <= PROMISED

    def test_events_of_several_lanes(self, workspace: Workspace) -> None:
        people = [a_contact(workspace, f"{n}@example.test") for n in range(20)]
        apply_effects(workspace.id)
        for one in people:
            tell(workspace, one, "visit")
        assert 0 < len(one_pass(workspace)) <= PROMISED

    def test_a_pass_that_finds_nothing_is_one_look(self, workspace: Workspace) -> None:
        assert len(one_pass(workspace)) == 1

    def test_an_edit_is_read_once(self, workspace: Workspace, jane: Contact) -> None:
        bump_rules_version(workspace.id)
        costs = []
        for _ in range(3):
            tell(workspace, jane, "visit")
            costs.append(len(one_pass(workspace)))
        assert costs[0] > PROMISED >= costs[1] == costs[2]


def test_in_a_workspace_without_rules(workspace: Workspace, jane: Contact) -> None:
    for _ in range(2):
        tell(workspace, jane, "visit")
        apply_effects(workspace.id)
    tell(workspace, jane, "visit")
    assert 0 < len(one_pass(workspace)) <= PROMISED


def scored(workspace: Workspace) -> Callable[[], bool]:
    a_rule(workspace, "visit", 1)
    return lambda: ContactScore.objects.filter(workspace=workspace, points__gt=0).exists()


def renamed(workspace: Workspace) -> Callable[[], bool]:
    rule = a_rule(workspace, "other", 1)
    tell(workspace, Contact.objects.get(), "visit")
    apply_effects(workspace.id)
    save_rule(rule, event_name="visit", condition=None)
    return lambda: ContactScore.objects.filter(workspace=workspace, points__gt=0).exists()


def in_a_window(workspace: Workspace) -> Callable[[], bool]:
    segment = a_segment(workspace, did("visit", timeWindow="7d", operator="gte", value=5))
    return lambda: bool(who_is_in(segment))


def of_all_time(workspace: Workspace) -> Callable[[], bool]:
    segment = a_segment(workspace, did("visit", operator="gte", value=5))
    return lambda: bool(who_is_in(segment))


def started(workspace: Workspace) -> Callable[[], bool]:
    campaign = a_campaign(workspace, definition(trigger=on_event("visit")))
    return lambda: bool(enrollments_of(campaign))


def reached(workspace: Workspace) -> Callable[[], bool]:
    raw = definition(node("wait", "wait", duration="1d"), goal={"eventType": "visit", "within": "7d"})
    campaign = a_campaign(workspace, raw)
    tell(workspace, Contact.objects.get(), "go")
    apply_effects(workspace.id)
    return lambda: [run.status for run in enrollments_of(campaign)] == ["converted"]


@pytest.mark.parametrize("kind", [scored, renamed, in_a_window, of_all_time, started, reached])
def test_what_comes_to_care_is_heard_with_the_next_event(
    kind: Callable[[Workspace], Callable[[], bool]], workspace: Workspace, jane: Contact
) -> None:
    """The process has kept that nothing cares for visits."""
    make_all_kinds(workspace)
    for _ in range(4):
        tell(workspace, jane, "visit")
        apply_effects(workspace.id)
    holds = kind(workspace)
    assert not holds()
    tell(workspace, jane, "visit")
    apply_effects(workspace.id)
    assert holds()


def test_what_falls_due_is_decided_though_nothing_cares_for_what_came(
    workspace: Workspace, jane: Contact
) -> None:
    segment = a_segment(workspace, did("buy", timeWindow="5m"))
    tell(workspace, jane, "buy", at=clock.now() - timedelta(minutes=4))
    apply_effects(workspace.id)
    assert who_is_in(segment) == {jane.id}
    tell(workspace, jane, "visit")
    apply_effects(workspace.id)
    with pytest.MonkeyPatch.context() as patch:
        later = clock.now() + timedelta(minutes=10)
        patch.setattr(clock, "now", lambda: later)
        tell(workspace, jane, "visit")
        apply_effects(workspace.id)
        assert who_is_in(segment) == set()


@pytest.mark.parametrize(("hours", "is_late"), [(24 * 30, False), (0, True), (1, True), (2, False)])
def test_late_is_what_the_definition_says(
    hours: int,
    is_late: bool,
    workspace: Workspace,
    jane: Contact,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    EventDefinition.objects.create(workspace=workspace, name="visit", late_after_hours=hours)
    seen: list[bool] = []
    settings.EVENT_EFFECTS = ["tests.events.effects.look"]
    monkeypatch.setattr(
        "tests.events.effects.look",
        lambda batch: seen.extend(event.is_late for event in batch.events if event.name == "visit"),
    )
    who = ContactReference(id=str(jane.id))
    event = IncomingEvent("visit", who, {}, occurred_at=clock.now() - timedelta(minutes=90))
    record_events(workspace.id, [event], schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)
    assert seen == [is_late]
