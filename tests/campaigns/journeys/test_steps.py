"""What steps do to the enrollments that come to them."""

import pytest

from campaigns.journeys import processor
from campaigns.journeys.definition.steps import HOLDOUT, SplitStep
from campaigns.journeys.lifecycle import archive_campaign, execute_campaign
from campaigns.journeys.plans import definition_of
from campaigns.journeys.processor import process_due_enrollments
from campaigns.journeys.steps import STEP_HANDLERS
from campaigns.journeys.steps.branches import arm_of
from campaigns.models import Enrollment
from config import ids
from contacts.crud import get_contact, update_contact
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import Event
from events.stream.derived_events import MAX_DEPTH
from tests.campaigns.factories import (
    a_campaign,
    decided,
    definition,
    ends,
    enrollments_of,
    marks,
    messages_of,
    node,
    on_event,
    sends,
    work,
)
from tests.contacts.factories import a_contact, tag_contact
from tests.segments.factories import send

pytestmark = pytest.mark.django_db

VIP = {"type": "tag", "value": "vip"}


def marked(workspace):
    return list(
        Event.objects.filter(workspace=workspace, name__startswith="mark")
        .order_by("id")
        .values_list("name", flat=True)
    )


def test_a_message_is_reserved_once_for_each_enrollment(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace)))
    send(workspace, jane, "go", "go")
    work(workspace)
    messages = messages_of(campaign)
    assert len({message.enrollment_id for message in messages}) == len(messages) == 2
    assert {message.key for message in messages} == {
        f"{enrollment.id}:send:0" for enrollment in enrollments_of(campaign)
    }
    assert {(message.address, message.step) for message in messages} == {("jane@example.test", "send")}


def test_who_gets_no_message_goes_on_and_the_reason_is_on_record(workspace):
    nobody = a_contact(workspace)
    campaign = a_campaign(workspace, definition(sends(workspace), marks()))
    send(workspace, nobody, "go")
    work(workspace)
    assert marked(workspace) == ["mark"]
    assert decided(campaign, "not_sent") == [("not_sent", "no_address")]


def test_a_template_with_a_hole_is_not_sent_and_says_so(workspace, jane):
    campaign = a_campaign(workspace, definition(sends(workspace, body="<p>{{ event.properties.order }}")))
    send(workspace, jane, "go")
    send(workspace, jane, "go", order=7)
    work(workspace)
    assert [message.body for message in messages_of(campaign)] == ["<p>7"]
    assert decided(campaign, "not_sent") == [("not_sent", "value_missing")]


def test_the_first_branch_that_holds_is_taken(workspace, jane):
    big = {"type": "property", "field": "properties.amount", "operator": "gt", "value": 10}
    branches = [{"handle": "vip", "condition": VIP}, {"handle": "big", "condition": big}]
    campaign = a_campaign(
        workspace,
        definition(
            node("which", "branch", branches=branches),
            marks("mark vip"),
            marks("mark big"),
            marks("mark else"),
            edges=[
                ("which", "mark vip", "vip"),
                ("which", "mark big", "big"),
                ("which", "mark else", "else"),
            ],
        ),
    )
    send(workspace, jane, "go", amount=5)
    work(workspace)
    send(workspace, jane, "go", amount=50)
    work(workspace)
    tag_contact(workspace.id, jane, "vip")
    send(workspace, jane, "go", amount=50)
    work(workspace)
    assert marked(workspace) == ["mark else", "mark big", "mark vip"]
    assert {enrollment.end_reason for enrollment in enrollments_of(campaign)} == {"end_of_workflow"}


def test_a_branch_without_an_edge_ends_the_enrollment(workspace, jane):
    branch = node("which", "branch", branches=[{"handle": "vip", "condition": VIP}])
    campaign = a_campaign(workspace, definition(branch, marks(), edges=[("which", "mark", "vip")]))
    send(workspace, jane, "go")
    work(workspace)
    assert (ends(campaign), marked(workspace)) == ([("completed", "end_of_workflow")], [])


def test_arms_have_their_shares_and_a_contact_keeps_its_own():
    step, campaign_id = SplitStep((("a", 30), ("b", 50))), ids.uuid7()
    contacts = [ids.uuid7() for _ in range(4000)]
    drawn = [arm_of(step, campaign_id, contact, "n") for contact in contacts]
    shares = {arm: drawn.count(arm) / len(drawn) for arm in ("a", "b", HOLDOUT)}
    assert shares == pytest.approx({"a": 0.3, "b": 0.5, HOLDOUT: 0.2}, abs=0.04)
    assert drawn == [arm_of(step, campaign_id, contact, "n") for contact in contacts]
    assert drawn != [arm_of(step, campaign_id, contact, "m") for contact in contacts]
    whole = SplitStep(tuple((str(arm), 100 / 7) for arm in range(7)))
    assert HOLDOUT not in {arm_of(whole, campaign_id, contact, "n") for contact in contacts}


def test_the_hold_out_gets_nothing_and_says_so(workspace):
    people = [a_contact(workspace, f"p{number}@example.test") for number in range(30)]
    split = node("ab", "split", arms=[{"handle": "a", "weight": 50}])
    campaign = a_campaign(workspace, definition(split, marks(), edges=[("ab", "mark", "a")]))
    for person in people:
        send(workspace, person, "go")
    work(workspace)
    reasons = [enrollment.end_reason for enrollment in enrollments_of(campaign)]
    assert set(reasons) == {"end_of_workflow", "held_out"}
    assert len(marked(workspace)) == reasons.count("end_of_workflow")


def test_contacts_are_changed_and_tagged(workspace, jane):
    tag_contact(workspace.id, jane, "lead")
    a_campaign(
        workspace,
        definition(
            node("set", "update", attributes={"plan": "pro", "seats": 3}),
            node("tag", "tag", add=["customer"], remove=["lead"]),
        ),
    )
    send(workspace, jane, "go")
    work(workspace)
    changed = get_contact(workspace.id, jane.id)
    assert changed.attributes == {"plan": "pro", "seats": 3}
    assert changed.tag_names == ["customer"]


def test_two_campaigns_that_turn_each_other_come_to_an_end(workspace, jane):
    for plan, other in (("a", "b"), ("b", "a")):
        condition = {"type": "attribute", "field": "attributes.plan", "operator": "eq", "value": plan}
        trigger = {"type": "ATTRIBUTE_CHANGED", "field": "attributes.plan", "condition": condition}
        a_campaign(workspace, definition(node("set", "update", attributes={"plan": other}), trigger=trigger))
    update_contact(workspace.id, jane, ContactChanges(attributes={"plan": "a"}))
    work(workspace)
    changes = Event.objects.filter(workspace=workspace, name="contact.updated", contact=jane)
    assert MAX_DEPTH // 2 < changes.count() <= MAX_DEPTH + 2
    assert changes.filter(properties__loopCut=True).count() == 1


def test_a_campaign_that_records_what_starts_it_comes_to_an_end(workspace, jane):
    campaign = a_campaign(workspace, definition(marks("go")))
    send(workspace, jane, "go")
    work(workspace)
    assert MAX_DEPTH // 2 < len(enrollments_of(campaign)) <= MAX_DEPTH + 1


def test_an_exit_says_why(workspace, jane):
    campaign = a_campaign(workspace, definition(node("out", "exit", reason="not for us")))
    send(workspace, jane, "go")
    work(workspace)
    assert ends(campaign) == [("exited", "not for us")]


def test_an_exit_rule_about_the_contact_is_asked_before_every_step(workspace, jane, time):
    raw = definition(
        marks(), node("wait", "wait", duration="1d"), marks("mark 2"), exits=[{"condition": VIP}]
    )
    campaign = a_campaign(workspace, raw)
    send(workspace, jane, "go")
    work(workspace)
    tag_contact(workspace.id, jane, "vip")
    time.go(days=1)
    work(workspace)
    assert (ends(campaign), marked(workspace)) == ([("exited", "exit_rule")], ["mark"])


def test_a_step_that_fails_is_tried_again_alone_and_gives_up_in_the_end(workspace, jane, time, monkeypatch):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign(workspace, definition(node("set", "update", attributes={"plan": "pro"})))
    real = STEP_HANDLERS[type(campaign_step(campaign))]

    def fail(context, enrollments):
        outcomes = real(context, enrollments)
        if any(enrollment.contact_id == jane.id for enrollment in enrollments):
            raise ValueError("no\x00pe")
        return outcomes

    monkeypatch.setitem(STEP_HANDLERS, type(campaign_step(campaign)), fail)
    send(workspace, jane, "go")
    send(workspace, john, "go")
    work(workspace)
    assert sorted(ends(campaign)) == [("completed", "end_of_workflow"), ("open", "")]
    assert get_contact(workspace.id, john.id).attributes == {"plan": "pro"}
    # What the failed step had done is undone.
    assert get_contact(workspace.id, jane.id).attributes == {}
    (enrollment,) = Enrollment.objects.filter(contact=jane)
    assert (enrollment.attempts, enrollment.error) == (1, "ValueError: nope")
    for _ in range(processor.MAX_ATTEMPTS):
        time.go(minutes=10)
        process_due_enrollments(workspace.id, at_most_seconds=10)
    enrollment.refresh_from_db()
    assert (enrollment.status, enrollment.end_reason) == ("failed", "step_failed")


def campaign_step(campaign):
    return definition_of(campaign.active_version).nodes["set"].step


def test_a_enrollment_whose_contact_is_gone_ends(workspace, jane):
    campaign = a_campaign(workspace, definition(marks(), sends(workspace), trigger={"type": "MANUAL"}))
    execute_campaign(workspace.id, campaign, jane)
    Contact.objects.filter(id=jane.id).delete()
    work(workspace)
    assert (ends(campaign), messages_of(campaign)) == ([("exited", "erased")], [])


def test_what_is_archived_ends_its_enrollments(workspace, jane):
    campaign = a_campaign(workspace, definition(node("wait", "wait", duration="1d"), marks()))
    send(workspace, jane, "go")
    work(workspace)
    archive_campaign(workspace.id, campaign)
    assert ends(campaign) == [("exited", "campaign_archived")]
    send(workspace, jane, "go")
    assert len(enrollments_of(campaign)) == 1


def test_many_campaigns_share_a_turn(workspace, jane):
    campaigns = [a_campaign(workspace, definition(trigger=on_event("go"))) for _ in range(30)]
    send(workspace, jane, *["go"] * 12)
    work(workspace)
    assert {len(enrollments_of(campaign)) for campaign in campaigns} == {12}
    assert {end for campaign in campaigns for end in ends(campaign)} == {("completed", "end_of_workflow")}
