"""Wherever somebody decides, an event comes at the decisive spot: it counts, at once or when its turn comes."""

from functools import partial

import pytest

from campaigns.journeys import processor, progress
from campaigns.journeys.processor import process_due_enrollments
from contacts.merging import merges
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import ContactScore
from events.models import EventBatch
from events.processing.passes import apply_effects
from scoring import rescoring, verification
from scoring.rescoring import rescore_lane
from scoring.verification import verify_contacts
from segments import build, evaluation
from segments import verification as segment_verification
from segments.build import run_build
from segments.definitions import create_segment, update_segment
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, definition, ends, marks, work
from tests.contacts.factories import a_contact
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, did, none_of, send, tell, told, who_is_in
from tests.segments.test_races import at_once, paused
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)

BOUGHT = did("buy", operator="gte", value=1, timeWindow="1d")
NEVER_BOUGHT = none_of(did("buy", timeWindow="30d"))


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test")


@pytest.fixture
def meanwhile(monkeypatch):
    """Do a deed in another thread while some work stands before the first call of a function."""

    def do(place, name, work, deed):
        arrived, may_go = paused(monkeypatch, place, name)

        def wait_and_do():
            assert arrived.wait(timeout=30)
            try:
                deed()
            finally:
                may_go.set()

        at_once(work, wait_and_do)

    return do


def check(workspace, inside, outside, people):
    """Whoever bought is in the one segment and not in the other."""
    work(workspace)
    ids = {person.id for person in people}
    assert (who_is_in(inside), who_is_in(outside)) == (ids, set())
    assert not EventBatch.objects.exists()
    assert verify_segments(workspace.id).is_sound
    assert verify_contacts(workspace.id, list(ids)) == []


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (build, "build_aggregates"),
        (build, "evaluate_contacts"),
        (evaluation, "merged_ids"),
        (build, "promote_draft"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_build(workspace, jane, meanwhile, place, name):
    apply_effects(workspace.id)
    outside = a_segment(workspace, NEVER_BOUGHT)
    inside = create_segment(workspace.id, name="in", raw=BOUGHT)
    meanwhile(
        place,
        name,
        partial(run_build, workspace.id, inside.id),
        partial(tell, workspace, jane, "buy"),
    )
    check(workspace, inside, outside, [jane])


def test_the_announcement_of_an_edit(workspace, jane, meanwhile):
    apply_effects(workspace.id)
    inside, outside = a_segment(workspace, BOUGHT), a_segment(workspace, did("look"))
    update_segment(workspace.id, outside, raw=NEVER_BOUGHT)
    meanwhile(
        build,
        "publish_changes",
        partial(run_build, workspace.id, outside.id),
        partial(tell, workspace, jane, "buy"),
    )
    check(workspace, inside, outside, [jane])
    assert told(outside, jane) == ["segment.entered", "segment.exited"]


@pytest.mark.parametrize(
    "name", ["_owners", "evaluate_events", "recalculate_ledger", "sum_up", "finish_lane"]
)
def test_a_re_scoring(workspace, jane, meanwhile, name):
    rule = a_rule(workspace, "buy", 5, BOUGHT, rescore=True)
    apply_effects(workspace.id)
    lane = jane.id.int % 16
    meanwhile(
        rescoring,
        name,
        partial(rescore_lane, workspace.id, rule.id, lane),
        partial(tell, workspace, jane, "buy"),
    )
    for other in range(16):
        rescore_lane(workspace.id, rule.id, other)
    apply_effects(workspace.id)
    assert ContactScore.objects.get(contact=jane).points == 5
    assert verify_contacts(workspace.id, [jane.id]) == []


@pytest.mark.parametrize("name", ["lock_persons", "_publish", "_reassign_rows"])
@pytest.mark.parametrize("is_undo", [False, True], ids=["merge", "undo"])
def test_a_merge_and_its_undo(workspace, jane, meanwhile, name, is_undo):
    inside, outside = a_segment(workspace, BOUGHT), a_segment(workspace, NEVER_BOUGHT)
    a_rule(workspace, "buy", 5, BOUGHT)
    john = a_contact(workspace, "john@example.test")
    apply_effects(workspace.id)
    deed = partial(tell, workspace, john, "buy")
    if is_undo:
        merge = merge_contacts(workspace.id, jane, john)
        apply_effects(workspace.id)
        meanwhile(merges, name, partial(undo_merge, workspace.id, merge), deed)
        work(workspace)
        assert (who_is_in(inside), who_is_in(outside)) == ({john.id}, {jane.id})
        assert verify_segments(workspace.id).is_sound
    else:
        meanwhile(merges, name, partial(merge_contacts, workspace.id, jane, john), deed)
        check(workspace, inside, outside, [jane])
        assert ContactScore.objects.get(contact=jane).points == 5


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (processor, "_claim"),
        (processor, "load_recipients"),
        (progress, "outcomes_of_pending_events"),
        (progress, "evaluate_rules"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_step_is_not_taken_past_what_has_happened(workspace, jane, meanwhile, place, name):
    campaign = a_campaign(workspace, definition(marks(), exits=[{"condition": BOUGHT}]))
    send(workspace, jane, "go")
    take = partial(process_due_enrollments, workspace.id, at_most_seconds=30)
    meanwhile(place, name, take, partial(tell, workspace, jane, "buy"))
    assert ends(campaign) == [("exited", "exit_rule")]


@pytest.mark.parametrize(
    ("place", "name"),
    [(segment_verification, "load_people"), (segment_verification, "_waiting"), (verification, "read")],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_happens_during_a_verification_is_no_difference(workspace, jane, meanwhile, place, name):
    inside, outside = a_segment(workspace, BOUGHT), a_segment(workspace, NEVER_BOUGHT)
    a_rule(workspace, "buy", 5, BOUGHT, decay_points=1, decay_days=1)
    apply_effects(workspace.id)

    def verify():
        assert verify_segments(workspace.id).is_sound
        assert verify_contacts(workspace.id, [jane.id]) == []

    # With the lane held, as it is at the second look, its effects have to wait.
    is_held = name == "_waiting"
    if is_held:
        tell(workspace, jane, "look", "buy")
    meanwhile(place, name, verify, partial(tell if is_held else send, workspace, jane, "buy"))
    check(workspace, inside, outside, [jane])
