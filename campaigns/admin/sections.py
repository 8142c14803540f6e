"""Sections that campaigns add to the admin's pages of contacts and events."""

from __future__ import annotations

from collections.abc import Sequence

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from campaigns.admin.base import about_label, campaign_link, trace_link
from campaigns.admin.enrollments import reason_of
from campaigns.models import Campaign, Decision, Message
from contacts.identity.lookup import ids_of
from contacts.models import Contact
from events.models import Event
from workspaces.staff.columns import utc
from workspaces.staff.links import link, list_link
from workspaces.staff.sections import shows

SECTION_ROWS = 20


@shows(Decision)
def contact_campaigns_section(contact: Contact) -> SafeString:
    """Return the section of a contact's latest decisions; three statements."""
    ids = ids_of(contact.workspace_id, contact.pk)
    decisions = Decision.objects.in_workspace(contact.workspace_id).filter(contact_id__in=ids)
    rows = [
        [
            utc(decision.decided_at),
            about_label(decision),
            decision.get_kind_display(),
            reason_of(decision),
            decision.step,
            trace_link(decision.event_id),
        ]
        for decision in decisions.select_related("campaign", "campaign_set").order_by("-id")[:SECTION_ROWS]
    ]
    return _section(
        contact,
        "Campaigns",
        ["Decided (UTC)", "Campaign", "What", "Why", "Step", "Event"],
        rows,
        ("campaigns_decision", "All decisions"),
    )


@shows(Message)
def contact_messages_section(contact: Contact) -> SafeString:
    """Return the section of a contact's latest messages; two statements."""
    ids = ids_of(contact.workspace_id, contact.pk)
    sent = Message.objects.in_workspace(contact.workspace_id).filter(contact_id__in=ids)
    rows = [
        [
            utc(message.created_at),
            message.get_channel_display(),
            link("campaigns_message_change", message.pk, message.subject or message.address),
            message.get_status_display(),
            campaign_link(message.campaign),
            utc(message.sent_at),
        ]
        for message in sent.select_related("campaign").order_by("-id")[:SECTION_ROWS]
    ]
    return _section(
        contact,
        "Messages",
        ["Made (UTC)", "Channel", "Message", "Status", "Campaign", "Sent (UTC)"],
        rows,
        ("campaigns_message", "All messages"),
    )


@shows(Campaign, Event)
def event_trace_section(event: Event) -> SafeString | str:
    """Return the link from an event's page to its trace."""
    return trace_link(event.pk)


def _section(
    contact: Contact,
    title: str,
    headers: list[str],
    rows: Sequence[Sequence[object]],
    everything: tuple[str, str],
) -> SafeString:
    page, words = everything
    return render_to_string(
        "admin/campaigns/section.html",
        {
            "title": title,
            "table": {"headers": headers, "rows": rows},
            "footer": list_link(page, words, workspace=contact.workspace_id, q=contact.pk),
        },
    )
