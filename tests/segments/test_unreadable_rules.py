"""A stored rule that cannot be read any more stops nothing but itself: commands name it, go on and exit with 1."""

from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from contacts.models import ContactScore
from events.models import Aggregate
from events.processing.passes import apply_effects
from scoring.models import ScoreEntry, ScoringRule
from scoring.rescoring import RESCORES, reevaluate_contacts
from scoring.rules import rescore_rule
from segments.models import Segment
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, did, every, in_segment, send, who_is_in
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import BackfillJob, User

pytestmark = pytest.mark.django_db(transaction=True)
NONSENSE = {"type": "horoscope", "sign": "libra"}


@pytest.fixture
def workspace(time):
    return WorkspaceFactory(name="Mill")


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test")


def run(name, *arguments):
    """Return the output and the exit status of a command."""
    out = StringIO()
    try:
        call_command(name, *arguments, stdout=out, stderr=StringIO())
    except CommandError as error:
        return out.getvalue(), error.returncode
    return out.getvalue(), 0


@pytest.fixture
def rules(workspace, jane):
    """Two rules that have given points, of which the first cannot be read any more."""
    spoiled, sound = a_rule(workspace, "buy", 7), a_rule(workspace, "buy", 3)
    send(workspace, jane, "buy")
    spoil(spoiled)
    return spoiled, sound


def spoil(rule):
    ScoringRule.objects.filter(id=rule.id).update(name="Old one", condition=NONSENSE)


@pytest.mark.parametrize("command", ["verify_scores", "rescore_contacts"])
def test_scores_of_the_other_rules_are_looked_at(workspace, jane, rules, command):
    output, status = run(command, "--workspace", str(workspace.id))
    assert status == 1
    assert output.count('The rule "Old one"') == 1
    assert ContactScore.objects.get(contact=jane).points == 10


def test_what_differs_is_found_and_repaired_beside_one(workspace, jane, rules):
    ScoreEntry.objects.filter(rule=rules[1].id).update(points=5)
    output, status = run("verify_scores", "--repair", "--workspace", str(workspace.id))
    assert (status, "1 repaired" in output) == (1, True)
    assert ContactScore.objects.get(contact=jane).points == 10


def test_one_that_is_to_be_rescored_keeps_what_it_gave(workspace, jane, rules):
    spoiled, _ = rules
    reevaluate_contacts(workspace.id, [jane.id], spoiled.id)
    ScoringRule.objects.filter(id=spoiled.id).update(condition=None)
    rescore_rule(ScoringRule.objects.get(id=spoiled.id))
    spoil(spoiled)
    for job in BackfillJob.objects.filter(kind=RESCORES.path):
        RESCORES.run(job)
    assert not BackfillJob.objects.filter(kind=RESCORES.path, finished_at=None).exists()
    assert not ScoringRule.objects.get(id=spoiled.id).is_rescoring
    assert ContactScore.objects.get(contact=jane).points == 10


@pytest.fixture
def segments(workspace, jane):
    """Two segments, of which the first cannot be read any more."""
    spoiled = a_segment(workspace, every(did("buy")), name="Old one")
    sound = a_segment(workspace, every(did("buy")), name="Sound")
    send(workspace, jane, "buy")
    Segment.objects.filter(id=spoiled.id).update(rule={"operator": "AND", "conditions": [NONSENSE]})
    return spoiled, sound


def test_the_other_segments_are_verified(workspace, segments):
    output, status = run("verify_segments", "--workspace", str(workspace.id))
    assert (status, "Old one: its rule cannot be read" in output) == (1, True)


@pytest.mark.parametrize("options", [(), ("--wait",), ("--recount", "--wait")], ids=["", "wait", "recount"])
def test_the_other_segments_are_built(workspace, jane, segments, options):
    output, status = run("rebuild_segments", *options, "--workspace", str(workspace.id))
    assert (status, "Old one: " in output) == (1, True)
    assert "1 builds started" in output
    assert who_is_in(Segment.objects.get(id=segments[1].id)) == {jane.id}


def test_the_api_shows_both(workspace, rules, segments):
    api = NativeClient(workspace)
    for path in (f"segments/{segments[0].id}", "segments", f"scoring-rules/{rules[0].id}", "scoring-rules"):
        assert api.get(path).status_code == 200


READ = "This rule cannot be read any more: conditions[0].type: The type must be one of attribute,"


def test_an_explanation_names_what_cannot_be_read(workspace, jane, segments):
    api = NativeClient(workspace)
    found, other = (
        api.get(f"segments/{segment.id}/contacts/{jane.id}/explanation").json() for segment in segments
    )
    assert (found["isMember"], found["matches"], found["reasons"]) == (True, None, None)
    (warning,) = found["warnings"]
    assert warning.startswith(READ)
    assert (other["matches"], other["warnings"]) == (True, [])
    staff = Client()
    staff.force_login(User.objects.create(username="root", is_staff=True, is_superuser=True))
    for page in (
        reverse("admin:segments_segment_explanation", args=[segments[0].id, jane.id]),
        reverse("admin:segments_segment_change", args=[segments[0].id]),
    ):
        assert READ in staff.get(page).content.decode()


def test_what_needs_one_is_refused_with_what_cannot_be_read(workspace, segments):
    api = NativeClient(workspace)
    Segment.objects.filter(id=segments[1].id).update(
        draft_rule=every(NONSENSE), draft_version=uuid4(), build=Segment.Build.DONE
    )
    for answer in (
        api.post(f"segments/{segments[0].id}/rebuild", {}),
        api.get(f"segments/{segments[1].id}/impact"),
    ):
        assert answer.status_code == 422
        assert answer.json()["error"].startswith(READ)


def test_others_are_edited_and_deleted_beside_a_group_without_its_list(workspace, segments):
    Segment.objects.filter(id=segments[0].id).update(rule={"operator": "AND", "conditions": 5})
    api, other = NativeClient(workspace), a_segment(workspace, every(did("buy")))
    path = f"segments/{other.id}"
    assert (
        api.patch(path, {"rules": every(in_segment(segments[0]), in_segment(segments[1]))}).status_code == 200
    )
    assert api.delete(path).status_code == 204


def test_an_aggregate_that_cannot_be_read_stops_no_effects(workspace, jane, segments):
    Aggregate.objects.create(
        workspace=workspace, key="0" * 32, event_name="buy", filters=NONSENSE, lanes_built=65_535
    )
    send(workspace, jane, "buy")
    assert apply_effects(workspace.id) == "nothing"
    assert run("verify_segments", "--workspace", str(workspace.id))[1] == 1
