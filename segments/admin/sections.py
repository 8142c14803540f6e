"""What the page of a contact shows of segments."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from contacts.models import Contact
from segments.admin.base import segment_link, why_link
from segments.memberships import segments_of
from segments.models import Membership, Segment
from workspaces.staff.sections import shows

SECTION_ROWS = 50


@shows(Segment, Membership)
def contact_segments_section(contact: Contact) -> SafeString:
    """Return the segments that a contact is in, and others, each one click from its reasons; in two statements."""
    inside = segments_of(contact.workspace_id, contact.pk)
    dynamic = Segment.objects.in_workspace(contact.workspace_id).dynamic().exclude(published_at=None)
    outside = dynamic.exclude(pk__in=[segment.pk for segment, _ in inside]).order_by("name")[:SECTION_ROWS]
    rows = [
        [segment_link(segment), f"{since:%Y-%m-%d %H:%M:%S}", why_link(segment.pk, contact.pk)]
        for segment, since in inside
    ]
    links = format_html_join(", ", "{}", ((why_link(other.pk, contact.pk, other.name),) for other in outside))
    return render_to_string(
        "admin/segments/contact_segments.html",
        {
            "table": {"headers": ["Segment", "Since (UTC)", "Reasons"], "rows": rows},
            # One element: the footer sets what stands in it side by side, without the spaces between.
            "footer": format_html("<span>Why not in: {}</span>", links) if links else "",
        },
    )
