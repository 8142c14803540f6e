"""Enrollments, decisions, and what one event caused, in the native format."""

from uuid import uuid4

import pytest

from contacts.merging.merges import merge_contacts
from events.models import EventBatch
from scoring.models import ScoringRule
from scoring.rules import save_rule
from tests.campaigns.rows import a_campaign_row, a_campaign_set, a_decision, a_message, an_enrollment
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(workspace):
    return a_campaign_row(workspace)


def test_enrollments_are_listed_and_shown_with_their_decisions(api, campaign, jane):
    enrollment = an_enrollment(campaign, jane, step="a-day", awaited_event="order_paid")
    first = a_decision(campaign, jane, "entered", enrollment_id=enrollment.id, event_id=uuid4())
    second = a_decision(
        campaign,
        jane,
        "not_sent",
        "suppressed",
        enrollment_id=enrollment.id,
        step="mail",
        detail={"address": "a@b.test"},
    )
    a_decision(campaign, jane, "entered")
    (row,) = api.get(f"campaigns/{campaign.id}/runs").json()["data"]
    assert (row["status"], row["step"], row["awaits"]) == ("OPEN", "a-day", "order_paid")
    assert (row["version"], row["campaignId"]) == (1, str(campaign.id))
    assert row["contact"]["email"] == "jane@example.test"

    shown = api.get(f"campaigns/{campaign.id}/runs/{enrollment.id}").json()
    decisions = shown.pop("decisions")
    assert shown == row
    assert [decision["id"] for decision in decisions] == [str(first.id), str(second.id)]
    assert (decisions[0]["kind"], decisions[0]["reason"]) == ("ENTERED", None)
    assert decisions[0]["eventId"] == str(first.event_id)
    assert (decisions[1]["kind"], decisions[1]["reason"]) == ("NOT_SENT", "suppressed")
    assert (decisions[1]["step"], decisions[1]["detail"]) == ("mail", {"address": "a@b.test"})
    assert decisions[1]["campaigns"] == [{"id": str(campaign.id), "name": "Welcome"}]


def test_enrollments_are_narrowed_and_paged(api, workspace, campaign, jane):
    john = a_contact(workspace, "john@example.test")
    first = an_enrollment(campaign, jane)
    second = an_enrollment(campaign, john, status="completed", end_reason="end_of_workflow")
    an_enrollment(a_campaign_row(workspace, "Other"), jane)

    def found(**parameters):
        return [row["id"] for row in api.get(f"campaigns/{campaign.id}/runs", **parameters).json()["data"]]

    assert found() == [str(second.id), str(first.id)]
    assert found(status="COMPLETED") == found(contactId=str(john.id)) == [str(second.id)]
    merge_contacts(workspace.id, jane, john)
    assert found(contactId=str(jane.id)) == found()
    assert api.get(f"campaigns/{campaign.id}/runs", limit=1).json()["next"] == str(second.id)
    assert api.get(f"campaigns/{campaign.id}/runs", status="x").status_code == 400


def test_decisions_are_listed_by_campaign_and_by_contact(api, workspace, campaign, jane):
    other = a_campaign_row(workspace, "Other")
    first = a_decision(campaign, jane, "not_entered", "too_soon", event_id=uuid4())
    second = a_decision(other, jane, "entered", enrollment_id=uuid4())
    a_decision(other, a_contact(workspace), "entered")

    def found(path, **parameters):
        return [row["id"] for row in api.get(path, **parameters).json()["data"]]

    by_campaign, by_contact = f"campaigns/{campaign.id}/decisions", f"contacts/{jane.id}/decisions"
    assert found(by_campaign) == [str(first.id)]
    assert found(by_contact) == [str(second.id), str(first.id)]
    assert (
        found(by_contact, campaignId=str(other.id)) == found(by_contact, kind="ENTERED") == [str(second.id)]
    )
    assert found(by_contact, reason="too_soon") == found(by_contact, eventId=str(first.event_id))
    assert found(by_contact, runId=str(second.enrollment_id)) == [str(second.id)]
    assert found(by_campaign, contactId=str(uuid4())) == []
    assert api.get(by_campaign, kind="x").status_code == 400


def test_what_is_about_several_campaigns_is_listed_for_each(api, workspace, campaign, jane):
    other, third = (a_campaign_row(workspace, name) for name in ("Other", "Third"))
    sets = [
        a_campaign_set(campaign, other),
        a_campaign_set(campaign, other, third),
        a_campaign_set(other, third),
    ]
    made = [a_decision(campaign_set, jane, "not_entered", "too_soon") for campaign_set in sets]
    made += [a_decision(campaign, jane, "entered")]
    made += [a_decision(campaign_set, jane, "not_entered", "too_soon") for campaign_set in sets]
    ids = [str(decision.id) for decision in made]

    def found(path, **parameters):
        return api.get(path, **parameters).json()

    by_campaign = f"campaigns/{campaign.id}/decisions"
    assert [row["id"] for row in found(by_campaign)["data"]] == [ids[n] for n in (5, 4, 3, 1, 0)]
    page = found(by_campaign, limit=2)
    assert [row["id"] for row in page["data"]] == [ids[5], ids[4]]
    rest = found(by_campaign, before=page["next"], kind="NOT_ENTERED")
    assert [row["id"] for row in rest["data"]] == [ids[1], ids[0]]
    names = {campaign["name"] for campaign in rest["data"][0]["campaigns"]}
    assert names == {"Welcome", "Other", "Third"}
    of_jane = found(f"contacts/{jane.id}/decisions", campaignId=str(third.id))
    assert [row["id"] for row in of_jane["data"]] == [ids[n] for n in (6, 5, 2, 1)]


def test_lists_take_the_same_statements_for_any_number(api, campaign, jane, django_assert_max_num_queries):
    for _ in range(5):
        a_decision(campaign, jane, "entered")
        an_enrollment(campaign, jane)
    with django_assert_max_num_queries(7):
        assert len(api.get(f"campaigns/{campaign.id}/decisions").json()["data"]) == 5
    with django_assert_max_num_queries(6):
        assert len(api.get(f"campaigns/{campaign.id}/runs").json()["data"]) == 5


def test_an_event_is_traced(api, workspace, campaign, jane):
    save_rule(ScoringRule(workspace=workspace, name="Buyers earn", event_name="buy", points=7))
    event_id = api.post("events", {"type": "buy", "contactId": str(jane.id)}).json()["id"]
    enrollment = an_enrollment(campaign, jane, event_id=event_id)
    a_decision(campaign, jane, "entered", event_id=event_id, enrollment_id=enrollment.id)
    a_decision(campaign, jane, "sent", enrollment_id=enrollment.id, step="mail")
    message = a_message(jane, campaign, enrollment_id=enrollment.id)
    trace = api.get(f"events/{event_id}/trace").json()
    assert (trace["id"], trace["type"]) == (event_id, "buy")
    assert trace["effects"] == {"state": "WAITING", "parked": []}
    assert trace["contact"]["resolved"] == "KNOWN"
    assert trace["contact"]["contact"]["email"] == "jane@example.test"
    assert trace["schema"]["problems"] == {}
    assert [run["id"] for run in trace["runs"]] == [str(enrollment.id)]
    assert [decision["kind"] for decision in trace["decisions"]] == ["ENTERED", "SENT"]
    assert [message["id"] for message in trace["messages"]] == [str(message.id)]
    EventBatch.objects.all().delete()
    assert api.get(f"events/{event_id}/trace").json()["effects"]["state"] == "APPLIED"


def test_what_is_not_there_is_a_404(api, workspace, jane):
    campaign = a_campaign_row(WorkspaceFactory())
    mine = a_campaign_row(workspace)
    for unknown in ("x", uuid4(), campaign.id):
        for path in ("runs", "decisions", f"runs/{uuid4()}"):
            assert api.get(f"campaigns/{unknown}/{path}").status_code == 404
        assert api.get(f"campaigns/{mine.id}/runs/{unknown}").json() == {"error": "Run not found"}
        assert api.get(f"contacts/{unknown}/decisions").status_code == 404
        assert api.get(f"events/{unknown}/trace").status_code == 404


def test_the_scopes(workspace, campaign, jane):
    blind = NativeClient(workspace, secret=a_key(workspace, scopes=["events:read", "messages:read"]).secret)
    for path in (
        f"campaigns/{campaign.id}/runs",
        f"campaigns/{campaign.id}/decisions",
        f"contacts/{jane.id}/decisions",
        f"events/{uuid4()}/trace",
    ):
        assert blind.get(path).status_code == 403


def test_a_contacts_answer_has_its_campaigns(api, campaign, jane):
    enrollment = an_enrollment(campaign, jane, status="converted", end_reason="goal")
    (row,) = api.get(f"contacts/{jane.id}").json()["campaigns"]
    assert (row["id"], row["name"], row["runId"]) == (str(campaign.id), "Welcome", str(enrollment.id))
    assert (row["status"], row["endReason"]) == ("CONVERTED", "goal")
