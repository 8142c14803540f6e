"""A plan says whom its changes concern: as they then do."""

import pytest

from campaigns.configuration.impact import describe_impact
from campaigns.configuration.plans import dump_configuration, plan_configuration
from campaigns.models import Campaign
from segments.memberships import count_members
from segments.models import Segment
from tests.campaigns.configuration.factories import apply, changed, document, documents_of, fill
from tests.campaigns.factories import node, on_event, work, workflow
from tests.contacts.factories import a_contact
from tests.segments.factories import attribute, build_occupied_lanes, did, tell


@pytest.fixture
def filled(workspace, jane):
    fill(workspace)
    ann, _ = a_contact(workspace, "ann@example.test"), a_contact(workspace, "bob@example.test")
    tell(workspace, jane, "purchase", amount=90)
    tell(workspace, ann, "purchase", amount=10)
    work(workspace)
    for segment in Segment.objects.dynamic():
        build_occupied_lanes(segment)
    return dump_configuration(workspace.id)


def impacts(workspace, documents, **options):
    """Return the sentences about each file of a plan."""
    plan = plan_configuration(workspace, documents, **options)
    return {change.path: describe_impact(workspace.id, change) for change in plan.changes}


def test_a_segment_says_who_would_enter_and_leave_and_so_they_do(workspace, filled):
    rules = attribute("email", "in", ["jane@example.test", "bob@example.test"])
    documents = changed(filled, "segments/buyers.yaml", rules=rules)
    assert impacts(workspace, documents) == {
        "segments/buyers.yaml": ["1 contact would enter, 1 leave and 1 stay."]
    }
    apply(workspace, documents)
    buyers = Segment.objects.get(name="Buyers")
    build_occupied_lanes(buyers)
    buyers.refresh_from_db()
    assert count_members(workspace.id, [buyers])[buyers.id] == 2


def test_only_another_rule_has_an_impact(workspace, filled):
    documents = changed(filled, "segments/buyers.yaml", description="Who bought")
    assert impacts(workspace, documents) == {"segments/buyers.yaml": []}


def test_a_new_segment_says_who_would_enter_and_what_builds_on_it_waits(workspace, filled):
    documents = documents_of(filled)
    documents["segments"] += [
        document("segments/new.yaml", name="New", rules=did("purchase")),
        document("segments/next.yaml", name="Next", rules={"type": "segment", "segment": "New"}),
        document("segments/list.yaml", name="List", evaluation="STATIC"),
    ]
    assert impacts(workspace, documents) == {
        "segments/list.yaml": [],
        "segments/new.yaml": ["2 contacts of 3 would enter."],
        "segments/next.yaml": ["Whom it concerns is known once the segments that it builds on are there."],
    }


def test_a_scoring_rule_says_what_it_matches(workspace, filled):
    condition = {"field": "metadata.amount", "operator": "gte", "value": 5}
    documents = changed(filled, "scoring-rules/purchase.yaml", condition=condition)
    (sentence,) = impacts(workspace, documents)["scoring-rules/purchase.yaml"]
    assert sentence.startswith("It matches 2 of the latest 2 events since ")
    assert sentence.endswith(", of 2 contacts.")
    documents = changed(filled, "scoring-rules/purchase.yaml", maxScore=50)
    assert impacts(workspace, documents)["scoring-rules/purchase.yaml"][1:] == [
        "What it gives is calculated again for every contact, in the background."
    ]


def test_a_campaign_says_which_version_serves_and_who_is_in_it(workspace, filled):
    waits = workflow(node("wait", "wait", duration="2d"))
    values = {"triggers": [on_event("purchase")], "workflow": waits, "exits": []}
    apply(workspace, changed(filled, "campaigns/thanks.yaml", **values))
    tell(workspace, a_contact(workspace, "eve@example.test"), "purchase", amount=1)
    work(workspace)
    files = dump_configuration(workspace.id)
    path = "campaigns/thanks.yaml"
    longer = changed(files, path, workflow=workflow(node("wait", "wait", duration="3d")))
    assert impacts(workspace, longer) == {
        path: ["Version 3 would serve; 1 open enrollment would keep the version of before."]
    }
    assert impacts(workspace, changed(files, path, description="!")) == {
        path: ["Version 2 goes on to serve, with 1 open enrollment."]
    }
    goes_out = changed(files, path, triggers=[{"type": "SCHEDULE", "segment": "Buyers", "at": None}])
    assert impacts(workspace, goes_out)[path][1:] == ["It goes to a whole segment at once."]
    assert impacts(workspace, {"campaigns": []}, prune=True) == {
        "campaigns/draft-to-come.yaml": ["It was never active."],
        path: ["It would be archived, and 1 open enrollment end."],
    }
    Campaign.objects.filter(name="Thanks").update(status=Campaign.Status.PAUSED)
    assert impacts(workspace, documents_of(files)) == {
        path: [
            "It is paused now, and would be active again.",
            "Version 2 goes on to serve, with 1 open enrollment.",
        ]
    }


def test_a_template_says_who_sends_it(workspace, filled):
    documents = changed(filled, "templates/thanks.yaml", subject="Good day")
    assert impacts(workspace, documents) == {"templates/thanks.yaml": ["It is sent by: Thanks."]}


def test_a_deleted_segment_says_how_many_are_in_it(workspace, filled):
    documents = {"segments": [item for item in documents_of(filled)["segments"] if "aces" not in item.path]}
    assert impacts(workspace, documents, prune=True) == {
        "segments/aces-vips.yaml": ["0 contacts would no longer be in a segment of this name."]
    }
