"""Pages of one's own take no id of another workspace's, in an address, a form, a list or a document."""

import json

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from campaigns.models import Broadcast, Campaign, Enrollment, Message, SentEmail, Template
from contacts.models import Contact, ContactTag, Identifier, Merge, Tag
from events.models import Event
from segments.models import Membership, Segment
from tests.admin.tenants import checksums, leaked

pytestmark = pytest.mark.usefixtures("empty_sidebar")

OWNERS = ["owner", "mixed"]
"""Who sees nothing of the other workspace, and who looks on there."""


@pytest.fixture(params=OWNERS)
def client(request, world, db):
    client = world.clients[request.param]
    client.sees_both = request.param == "mixed"
    return client


def first(world, model, *, own):
    return model.objects.filter(workspace_id=(world.own if own else world.other).pk).first()


def told_nothing(client, response, world, sent):
    return client.sees_both or not leaked(response, world, sent)


@pytest.fixture
def unchanged(world, db):
    """Show that nothing of the other workspace changed, and nothing was made of it."""
    before = checksums(world.other)
    yield
    assert checksums(world.other) == before


def url(page, *args):
    return reverse(f"admin:{page}", args=args)


@pytest.mark.parametrize("button", ["show", "send"])
@pytest.mark.parametrize("by", ["contact", "event"])
def test_a_template_is_shown_for_nobody_of_others(client, world, unchanged, button, by):
    template = first(world, Template, own=True)
    Template.objects.filter(pk=template.pk).update(body="{{ contact.lastName }} {{ contact.email }}")
    values = {
        "contact": str(first(world, Contact, own=by == "event").pk),
        "event": str(first(world, Event, own=by == "contact").pk),
        "to": "me@example.com",
        button: "yes",
    }
    made = Message.objects.count()
    response = client.post(url("campaigns_template_preview", template.pk), values)
    assert response.status_code == 200
    assert "in this workspace" in response.text
    assert response.context["rendered"] is None
    assert told_nothing(client, response, world, str(values))
    assert Message.objects.count() == made


@pytest.mark.parametrize("how", ["try", "execute"])
@pytest.mark.parametrize("by", ["contact", "event"])
def test_a_campaign_starts_for_nobody_of_others(client, world, unchanged, how, by):
    campaign = first(world, Campaign, own=True)
    values = {
        "contact": str(first(world, Contact, own=by == "event").pk),
        "event": str(first(world, Event, own=by == "contact").pk),
        "start": how,
    }
    enrollments = Enrollment.objects.count()
    response = client.post(url("campaigns_campaign_start", campaign.pk), values)
    assert "in this workspace" in response.text
    assert told_nothing(client, response, world, str(values))
    assert Enrollment.objects.count() == enrollments


def test_a_campaign_starts_for_no_segment_of_others(client, world, unchanged):
    campaign = first(world, Campaign, own=True)
    segment = first(world, Segment, own=False)
    made = Broadcast.objects.count()
    values = {"segment": str(segment.pk), "start": "broadcast"}
    response = client.post(url("campaigns_campaign_start", campaign.pk), values)
    assert "segment" in response.context["for_segment"].errors
    assert told_nothing(client, response, world, str(values))
    assert Broadcast.objects.count() == made


def test_a_segment_explains_nobody_of_others(client, world):
    own, other = (first(world, Segment, own=one) for one in (True, False))
    ada, eve = (first(world, Contact, own=one) for one in (True, False))
    for segment, contact in ((own, eve), (other, ada)):
        response = client.get(url("segments_segment_explanation", segment.pk, contact.pk))
        assert response.status_code == 404
        assert not leaked(response, world, str(response.request))


@pytest.mark.parametrize("change", ["add", "remove"])
@pytest.mark.parametrize("way", ["chosen", "pasted"])
def test_a_static_segment_takes_nobody_of_others(client, world, unchanged, change, way):
    segment = Segment.objects.create(workspace=world.own, name="Press", evaluation="STATIC")
    eve = first(world, Contact, own=False)
    address = Identifier.objects.filter(contact=eve).values_list("value", flat=True)[0]
    values = {"chosen": str(eve.pk)} if way == "chosen" else {"pasted": f"{eve.pk}\n{address}\n"}
    response = client.post(url("segments_segment_members", segment.pk), {**values, "change": change})
    assert not Membership.objects.filter(segment=segment).exists()
    page = client.get(response.url) if response.status_code == 302 else response
    assert "not found" in page.text
    found = client.get(url("segments_segment_members", segment.pk), {"q": address})
    assert not found.context["found"]


def test_a_rule_and_a_draft_name_nothing_of_others(client, world, unchanged):
    theirs = {model: str(first(world, model, own=False).pk) for model in (Segment, Template, Campaign, Tag)}
    segment = first(world, Segment, own=True)
    rule = {"type": "segment", "segmentId": theirs[Segment], "operator": "in"}
    page = url("segments_segment_change", segment.pk)
    body = {"name": segment.name, "description": "", "rule": json.dumps(rule), "publishes": "on"}
    refused = client.post(page, body)
    assert "rule" in refused.context["adminform"].form.errors
    assert not leaked(refused, world, str(body))
    campaign = first(world, Campaign, own=True)
    send = {"id": "a", "type": "send", "data": {"channel": "email", "templateId": theirs[Template]}}
    draft = {
        "triggers": [{"type": "SCHEDULE", "segmentId": theirs[Segment]}],
        "reentry": {"mode": "once"},
        "workflow": {"nodes": [send], "edges": []},
    }
    # As one that somebody wrote before: what it names is looked up in the own workspace alone.
    Campaign.objects.filter(pk=campaign.pk).update(draft=draft)
    for response in (
        client.get(url("campaigns_campaign_change", campaign.pk)),
        client.post(
            url("campaigns_campaign_change_status", campaign.pk), {"status_change": "activate"}, follow=True
        ),
        client.get(url("campaigns_campaign_report", campaign.pk)),
    ):
        assert response.status_code == 200
        assert not leaked(response, world, json.dumps(draft))
    campaign.refresh_from_db()
    assert campaign.status == "DRAFT"


def test_contacts_of_two_workspaces_are_not_merged(client, world, unchanged):
    chosen = [str(first(world, Contact, own=one).pk) for one in (True, False)]
    made = Merge.objects.count()
    for where in (world.own, world.other):
        for across in ("0", "1"):
            body = {"action": "merge_chosen", "_selected_action": chosen, "select_across": across}
            page = f"{url('contacts_contact_changelist')}?workspace={where.pk}&q={chosen[1]}"
            response = client.post(page, body, follow=True)
            assert client.sees_both or not leaked(response, world, str(body) + page)
    assert Merge.objects.count() == made


def test_a_row_of_an_inline_is_not_taken_from_others(client, world, unchanged):
    ada, eve = (first(world, Contact, own=one) for one in (True, False))
    own, theirs = (Identifier.objects.filter(contact=one).first() for one in (ada, eve))
    kinds = ("identifiers", "consents", "contact_tags", "company_memberships")
    empty = {f"{kind}-{end}_FORMS": "0" for kind in kinds for end in ("TOTAL", "INITIAL")}
    rows = [
        {"id": str(theirs.pk), "contact": str(ada.pk), "kind": "email", "value": "stolen@example.com"},
        {"id": str(theirs.pk), "contact": str(eve.pk), "kind": "email", "value": "stolen@example.com"},
        {"id": str(own.pk), "contact": str(eve.pk), "kind": "email", "value": "given@example.com"},
        {"id": str(own.pk), "workspace": str(world.other.pk), "kind": "email", "value": "given@example.com"},
        {
            "id": str(theirs.pk),
            "contact": str(ada.pk),
            "kind": "email",
            "value": "x@example.com",
            "DELETE": "on",
        },
    ]
    for row in rows:
        forged = {f"identifiers-0-{name}": value for name, value in row.items()}
        counts = {"identifiers-TOTAL_FORMS": "1", "identifiers-INITIAL_FORMS": "1"}
        body = {"last_name": "x", "attributes": "{}", **empty, **counts, **forged}
        response = client.post(url("contacts_contact_change", ada.pk), body)
        assert told_nothing(client, response, world, str(body))
        own.refresh_from_db()
        assert (own.contact_id, own.workspace_id) == (ada.pk, world.own.pk), row


def test_a_row_never_moves_to_another_workspace(client, world, unchanged):
    tag = first(world, Tag, own=True)
    body = {"name": "moved", "workspace": str(world.other.pk)}
    assert client.post(url("contacts_tag_change", tag.pk), body).status_code == 302
    tag.refresh_from_db()
    assert (tag.name, tag.workspace_id) == ("moved", world.own.pk)
    body = {"contact": str(first(world, Contact, own=True).pk), "tag": str(first(world, Tag, own=False).pk)}
    made = ContactTag.objects.count()
    page = client.post(url("contacts_contacttag_add"), {**body, "workspace": str(world.own.pk)})
    assert page.status_code == 200
    assert ContactTag.objects.count() == made


def test_the_local_inbox_is_emptied_by_who_may_there(client, world):
    """Its list has no workspace of its own: who looks on in one of them deletes there nothing."""
    ids = {
        one: SentEmail.objects.filter(workspace_id=one.pk).values_list("pk", flat=True)
        for one in (world.own, world.other)
    }
    theirs = [str(pk) for pk in ids[world.other]]
    body = {"action": "delete_selected", "_selected_action": theirs, "post": "yes"}
    for across in ("0", "1"):
        client.post(url("campaigns_sentemail_changelist"), {**body, "select_across": across})
    assert SentEmail.objects.filter(pk__in=theirs).count() == len(theirs)
    for pk in theirs:
        status = client.get(url("campaigns_sentemail_source", pk)).status_code
        assert status == (200 if client.sees_both else 404)
    own = [str(pk) for pk in ids[world.own]]
    client.post(url("campaigns_sentemail_changelist"), {**body, "_selected_action": own})
    assert not SentEmail.objects.filter(pk__in=own).exists()


def test_what_was_done_to_a_row_is_told_to_who_may_see_the_row(client, world):
    eve = first(world, Contact, own=False)
    for page in ("contacts_contact_history", "contacts_contact_delete"):
        response = client.get(url(page, eve.pk))
        assert response.status_code == (
            (200 if page.endswith("history") else 403) if client.sees_both else 404
        )
    assert LogEntry.objects.exists()
