"""Campaigns in the admin: the services write, what the system wrote is read, and reasons are one click away."""

import json
import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from campaigns.api.serializers.campaigns import WELCOME
from campaigns.models import Campaign, ChannelSettings, Form, Message, Suppression, Template
from config import clock
from contacts.merging.merges import merge_contacts
from events.models import Event
from events.processing.passes import apply_effects
from scoring.models import ScoringRule
from scoring.rules import save_rule
from tests.admin.confirming import post_and_confirm
from tests.campaigns.rows import (
    a_campaign_row,
    a_decision,
    a_form_row,
    a_message,
    a_template_row,
    an_enrollment,
)
from tests.contacts.factories import a_contact
from tests.segments.factories import tell
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import User

pytestmark = pytest.mark.django_db

LIST = "admin:campaigns_campaign_changelist"
DRAFT = {name: WELCOME[name] for name in ("triggers", "reentry", "workflow", "goal")}


@pytest.fixture
def staff(db):
    client = Client()
    client.force_login(User.objects.create(username="staff", is_staff=True, is_superuser=True))
    return client


def page(model, kind, *args):
    return reverse(f"admin:campaigns_{model}_{kind}", args=args)


def text_of(response):
    assert response.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode()))


def form(**values):
    values = {"name": "Welcome", "description": "", "type": "AUTOMATED", "priority": "0", **values}
    return {name: json.dumps(value) if name == "draft" else value for name, value in values.items()}


def act(staff, model, action, *rows):
    data = {"action": action, "_selected_action": [str(row.pk) for row in rows]}
    return post_and_confirm(staff, page(model, "changelist"), data, follow=True)


def found(staff, model, **parameters):
    response = staff.get(page(model, "changelist"), parameters)
    assert response.status_code == 200
    return {row.pk for row in response.context["cl"].result_list}


def test_a_campaign_is_made_changed_and_started_by_the_services(staff, workspace):
    made = staff.post(page("campaign", "add"), form(workspace=str(workspace.pk), draft=DRAFT))
    assert made.status_code == 302
    campaign = Campaign.objects.get()
    assert (campaign.draft, campaign.status, campaign.active_version) == (DRAFT, "DRAFT", None)
    assert "1 campaign activated" in text_of(act(staff, "campaign", "activate", campaign))
    url = page("campaign", "change", campaign.pk)
    changed = {**DRAFT, "goal": None}
    assert staff.post(url, form(name="Hello", draft=changed)).status_code == 302
    campaign.refresh_from_db()
    assert (campaign.name, campaign.draft, campaign.active_version.definition) == ("Hello", changed, DRAFT)
    assert "version 1, the draft is newer" in text_of(staff.get(url))
    version = text_of(staff.get(page("campaignversion", "change", campaign.active_version_id)))
    assert "1, active" in version
    assert campaign.active_version.actor in version
    assert campaign.active_version.actor
    for action, word, status in (
        ("pause", "paused", "PAUSED"),
        ("resume", "resumed", "ACTIVE"),
        ("finish", "finished", "COMPLETED"),
        ("archive", "archived", "ARCHIVED"),
    ):
        assert f"1 campaign {word}" in text_of(act(staff, "campaign", action, campaign))
        campaign.refresh_from_db()
        assert campaign.status == status
    assert "Hello: The campaign is archived" in text_of(act(staff, "campaign", "activate", campaign))


def test_a_definition_that_is_wrong_shows_its_fault_at_the_field(staff, workspace):
    wrong = {"triggers": [{"type": "MOON"}]}
    response = staff.post(page("campaign", "add"), form(workspace=str(workspace.pk), draft=wrong))
    assert response.status_code == 200
    assert "triggers[0].type" in str(response.context["adminform"].form.errors["draft"])
    assert not Campaign.objects.exists()


def test_a_draft_is_shown_with_a_line_for_each_key(staff, workspace):
    campaign = a_campaign_row(workspace, draft=DRAFT)
    shown = staff.get(page("campaign", "change", campaign.pk)).context["adminform"].form["draft"].value()
    assert json.loads(shown) == DRAFT
    assert '\n  "goal": {\n' in shown


def test_a_message_shows_its_headers_one_by_one(staff, workspace, jane):
    message = a_message(jane, headers={"List-Unsubscribe": "<https://ours.test/u>"})
    assert "List-Unsubscribe: &lt;https://ours.test/u&gt;" in text_of(
        staff.get(page("message", "change", message.pk))
    )


def test_what_has_served_is_not_deleted(staff, workspace):
    served = a_campaign_row(workspace)
    draft = Campaign.objects.create(workspace=workspace, name="Draft")
    response = staff.post(page("campaign", "delete", served.pk), {"post": "yes"}, follow=True)
    assert "archived, not deleted" in text_of(response)
    both = {"action": "delete_selected", "_selected_action": [str(served.pk), str(draft.pk)], "post": "yes"}
    staff.post(reverse(LIST), both)
    assert list(Campaign.objects.values_list("name", flat=True)) == ["Welcome"]


def test_campaigns_are_found(staff, workspace):
    parked = a_campaign_row(workspace, "News", parked_at=clock.now(), error="Gone: the template")
    active = a_campaign_row(workspace, "Welcome", status="ACTIVE", type="BROADCAST")
    assert found(staff, "campaign", q="new") == found(staff, "campaign", parked="yes") == {parked.pk}
    assert found(staff, "campaign", status__exact="ACTIVE") == {active.pk}
    assert found(staff, "campaign", type__exact="BROADCAST", parked="no") == {active.pk}
    assert "Gone: the template" in text_of(staff.get(reverse(LIST)))


def test_a_report_is_a_page_of_counts(staff, workspace, jane):
    campaign = a_campaign_row(workspace)
    an_enrollment(campaign, jane, status="exited", end_reason="exit_rule")
    a_decision(campaign, jane, "not_entered", "already_running")
    a_decision(campaign, jane, "step", step="split", detail={"handle": "blue"})
    a_message(jane, campaign, status="BOUNCED")
    text = text_of(staff.get(page("campaign", "report", campaign.pk)))
    assert "Report of Welcome" in text
    assert "already running 1" in text
    assert "exit rule 1" in text
    assert "email bounced 1" in text
    assert "split step blue 1" in text
    for unknown in ("x", uuid4(), "%00"):
        assert staff.get(page("campaign", "report", unknown)).status_code == 404


def test_a_trace_is_a_page_with_every_time(staff, workspace, jane):
    save_rule(ScoringRule(workspace=workspace, name="Buyers earn", event_name="buy", points=7))
    tell(workspace, jane, "buy")
    event = Event.objects.get(workspace=workspace, name="buy")
    url = reverse("admin:campaigns_trace", args=[event.pk])
    assert "Its effects: waiting" in text_of(staff.get(url))
    assert url in staff.get(reverse("admin:events_event_change", args=[event.pk])).content.decode()
    apply_effects(workspace.id)
    campaign = a_campaign_row(workspace)
    enrollment = an_enrollment(campaign, jane, event_id=event.pk)
    a_decision(campaign, jane, "not_sent", "suppressed", enrollment_id=enrollment.pk, step="mail")
    message = a_message(jane, campaign, enrollment_id=enrollment.pk)
    response = staff.get(url)
    text = text_of(response)
    assert "Its effects: applied" in text
    assert "known" in text
    assert "Buyers earn +7" in text
    assert "Welcome not sent suppressed mail" in text.lower().replace("welcome", "Welcome")
    assert page("message", "change", message.pk) in response.content.decode()
    assert page("enrollment", "change", enrollment.pk) in response.content.decode()
    for unknown in ("x", uuid4(), "%00"):
        assert staff.get(reverse("admin:campaigns_trace", args=[unknown])).status_code == 404


def test_reports_and_traces_are_for_staff_who_may(staff, workspace, jane):
    campaign = a_campaign_row(workspace)
    tell(workspace, jane, "buy")
    urls = [
        page("campaign", "report", campaign.pk),
        reverse("admin:campaigns_trace", args=[Event.objects.get(name="buy").pk]),
    ]
    weak = Client()
    weak.force_login(User.objects.create(username="weak", is_staff=True))
    for url in urls:
        assert Client().get(url).status_code == 302
        assert weak.get(url).status_code == 404
        assert staff.get(url).status_code == 200


def test_what_the_system_wrote_is_found_and_never_changed(staff, workspace, jane):
    john = a_contact(workspace, "john@example.test")
    first, second = a_campaign_row(workspace, "One"), a_campaign_row(workspace, "Two")
    event_id = uuid4()
    enrollment = an_enrollment(first, jane, event_id=event_id)
    other = an_enrollment(second, john)
    entry = a_decision(first, jane, "entered", enrollment_id=enrollment.pk, event_id=event_id)
    refusal = a_decision(second, john, "not_sent", "suppressed", enrollment_id=other.pk)
    mail = a_message(jane, first, enrollment_id=enrollment.pk, event_id=event_id)
    call = a_message(john, second, enrollment_id=other.pk, channel="webhook")
    for model, of_first, of_second in (
        ("enrollment", enrollment, other),
        ("decision", entry, refusal),
        ("message", mail, call),
    ):
        assert found(staff, model) == {of_first.pk, of_second.pk}
        assert found(staff, model, campaign=str(first.pk)) == {of_first.pk}
        assert found(staff, model, q="john@") == {of_second.pk}
        assert found(staff, model, q=str(event_id)) == {of_first.pk}
        assert found(staff, model, q=str(other.pk)) == {of_second.pk}
        url = page(model, "change", of_first.pk)
        assert "jane@example.test" in text_of(staff.get(url))
        assert staff.post(url, {}).status_code == 403
        assert staff.post(page(model, "add"), {}).status_code == 403
        assert staff.post(page(model, "delete", of_first.pk), {"post": "yes"}).status_code == 403
    assert found(staff, "decision", reason="suppressed") == {refusal.pk}
    assert found(staff, "decision", kind__exact="entered") == {entry.pk}
    assert found(staff, "message", channel__exact="webhook") == {call.pk}


def test_a_enrollment_shows_its_way(staff, workspace, jane):
    campaign = a_campaign_row(workspace)
    enrollment = an_enrollment(campaign, jane, event_id=uuid4())
    message = a_message(jane, campaign, enrollment_id=enrollment.pk)
    a_decision(campaign, jane, "entered", enrollment_id=enrollment.pk)
    a_decision(
        campaign,
        jane,
        "deferred",
        "quiet_hours",
        enrollment_id=enrollment.pk,
        step="mail",
        message_id=message.pk,
        detail={"until": "08:00"},
    )
    a_decision(campaign, jane, "step", enrollment_id=enrollment.pk, step="arms", detail={"handle": "blue"})
    response = staff.get(page("enrollment", "change", enrollment.pk))
    text = text_of(response)
    assert "quiet hours, until: 08:00" in text
    assert "handle: blue" in text
    assert "Entered" in text
    assert "quiet hours" in text
    assert "08:00" in text
    assert page("message", "change", message.pk) in response.content.decode()
    assert reverse("admin:campaigns_trace", args=[enrollment.event_id]) in response.content.decode()


def test_unknown_messages_are_resolved_by_actions(staff, workspace, jane):
    unknown = a_message(jane, status="UNKNOWN", claimed_at=clock.now())
    queued = a_message(jane)
    text = text_of(act(staff, "message", "send_again", unknown, queued))
    assert "1 message resolved" in text
    unknown.refresh_from_db()
    assert unknown.status == "QUEUED"
    Message.objects.filter(pk=unknown.pk).update(status="UNKNOWN")
    act(staff, "message", "were_sent", unknown)
    unknown.refresh_from_db()
    assert unknown.status == "SENT"


def test_a_template_shows_its_fault_at_its_part(staff, workspace):
    data = {"workspace": str(workspace.pk), "name": "Hi", "channel": "email", "subject": "Hi", "text": ""}
    response = staff.post(page("template", "add"), {**data, "body": "{% for %}"})
    assert response.status_code == 200
    assert "body" in response.context["adminform"].form.errors
    assert staff.post(page("template", "add"), {**data, "body": "<p>Hi"}).status_code == 302
    template = Template.objects.get()
    node = {"id": "m", "type": "send", "data": {"channel": "email", "templateId": str(template.pk)}}
    a_campaign_row(workspace, draft={"workflow": {"nodes": [node], "edges": []}})
    response = staff.post(page("template", "delete", template.pk), {"post": "yes"}, follow=True)
    assert "sent by: Welcome" in text_of(response)
    both = {"action": "delete_selected", "_selected_action": [str(template.pk)], "post": "yes"}
    staff.post(page("template", "changelist"), both)
    assert Template.objects.exists()


def test_a_channels_secret_is_written_and_never_shown(staff, workspace):
    data = {
        "workspace": str(workspace.pk),
        "channel": "telegram",
        "sender": "",
        "options": "{}",
        "cap_count": "",
        "cap_hours": "24",
        "quiet_from": "",
        "quiet_until": "",
        "time_zone": "UTC",
        "on_unknown": "hold",
        "max_attempts": "8",
        "new_secret": "123:token",
    }
    assert staff.post(page("channelsettings", "add"), data).status_code == 302
    row = ChannelSettings.objects.get()
    assert row.secret == "123:token"
    url = page("channelsettings", "change", row.pk)
    assert b"123:token" not in staff.get(url).content
    assert staff.post(url, {**data, "new_secret": "", "max_attempts": "4"}).status_code == 302
    row.refresh_from_db()
    assert (row.secret, row.max_attempts) == ("123:token", 4)
    for wrong, field in (
        ({"time_zone": "Moon/Tranquility"}, "time_zone"),
        ({"quiet_from": "22:00"}, "quiet_from"),
        ({"cap_count": "0"}, "cap_count"),
    ):
        response = staff.post(url, {**data, **wrong})
        assert field in response.context["adminform"].form.errors


def test_an_address_is_suppressed_as_contacts_spell_it(staff, workspace):
    data = {"workspace": str(workspace.pk), "channel": "email", "address": "Jane@Example.TEST", "note": ""}
    assert staff.post(page("suppression", "add"), data).status_code == 302
    assert Suppression.objects.get().address == "jane@example.test"
    response = staff.post(page("suppression", "add"), {**data, "address": "nobody"})
    assert response.status_code == 200
    assert Suppression.objects.count() == 1
    staff.post(page("suppression", "delete", Suppression.objects.get().pk), {"post": "yes"})
    assert not Suppression.objects.exists()


def test_a_form_is_made_by_the_service(staff, workspace):
    asked = [{"name": "email", "type": "email", "required": True}]
    data = {
        "workspace": str(workspace.pk),
        "name": "News",
        "active": "on",
        "fields": json.dumps(asked),
        "allowed_origins": "[]",
        "consents": '["email"]',
        "redirect_url": "",
        "on_known": "fill_in",
        "confirmation_template": "",
    }
    assert staff.post(page("form", "add"), {**data, "fields": "[]"}).status_code == 200
    assert not Form.objects.exists()
    assert staff.post(page("form", "add"), data).status_code == 302
    made = Form.objects.get()
    assert made.fields[0]["mapsTo"] == "email"
    url = page("form", "change", made.pk)
    shown = staff.get(url)
    assert f"/api/forms/{made.pk}/submit" in text_of(shown)
    assert f"/api/forms/{made.pk}/embed.js&quot;&gt;&lt;/script&gt;" in shown.content.decode()
    template = a_template_row(workspace)
    changed = {**data, "double_opt_in": "on", "confirmation_template": str(template.pk)}
    assert staff.post(url, changed).status_code == 302
    made.refresh_from_db()
    assert (made.double_opt_in, made.confirmation_template) == (True, template)
    staff.post(page("form", "delete", made.pk), {"post": "yes"})
    assert not Form.objects.exists()


def test_a_contacts_page_has_its_decisions_and_messages(staff, workspace, jane):
    john = a_contact(workspace, "john@example.test")
    campaign = a_campaign_row(workspace)
    event_id = uuid4()
    a_decision(campaign, john, "not_sent", "suppressed", event_id=event_id, step="mail")
    message = a_message(john, campaign, subject="A word")
    a_decision(campaign, a_contact(workspace), "not_entered", "too_soon")
    merge_contacts(workspace.id, jane, john)
    url = reverse("admin:contacts_contact_change", args=[jane.pk])
    response = staff.get(url)
    text = text_of(response)
    assert "not sent suppressed mail" in text.lower()
    assert "too soon" not in text
    assert "A word" in text
    assert page("message", "change", message.pk) in response.content.decode()
    assert reverse("admin:campaigns_trace", args=[event_id]) in response.content.decode()

    def statements():
        with CaptureQueriesContext(connection) as captured:
            staff.get(url)
        return len(captured)

    few = statements()
    for _ in range(5):
        a_decision(campaign, john, "entered")
        a_message(john, campaign)
    assert statements() <= few


def test_another_workspaces_rows_are_not_listed(staff, workspace, jane):
    other = WorkspaceFactory()
    theirs = a_form_row(other)
    mine = a_form_row(workspace)
    assert found(staff, "form", workspace=str(workspace.pk)) == {mine.pk}
    assert found(staff, "form", workspace=str(other.pk)) == {theirs.pk}
