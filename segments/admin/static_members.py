"""The page that fills a static segment by hand: contacts found by a search, or pasted as a list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget

from config.errors import DomainError
from config.ids import parse_uuid
from contacts.admin import find_contact_ids
from contacts.models import Contact
from contacts.queries import with_details
from segments.models import Membership, Segment
from segments.static_members import MembersChanged, add_members, read_member_list, remove_members
from workspaces.models import Workspace
from workspaces.staff.model_admin import page
from workspaces.staff.permissions import admin_of

SHOWN_FOUND = 50
SHOWN_MEMBERS = 50
SHOWN_UNKNOWN = 20
MAX_LIST = 5_000_000
"""Characters of a pasted list."""


class PastedForm(forms.Form):
    """A list of contacts, as the API takes an uploaded one."""

    pasted = forms.CharField(
        max_length=MAX_LIST,
        label="Contacts",
        help_text="An e-mail address, id, phone number or external id a line; or a CSV with a header.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}),
    )


class FilledMixin:
    """A page beside a static segment's, where contacts are put in and taken out."""

    admin_site: Any
    opts: Any
    may: Callable[..., bool]
    row_for: Callable[..., Segment]

    def has_fill_permission(self, request: HttpRequest, segment: Segment) -> bool:
        """Return whether a user may say who is in a segment; who that is may be read here too."""
        return self.may(request, "change", segment) and bool(
            admin_of(Contact).has_view_permission(request, segment)
        )

    @page("<str:segment_id>/members/", "segments_segment_members")
    def members_view(self, request: HttpRequest, segment_id: str) -> HttpResponse:
        """Show who is in a segment and who could be, and do what a button says."""
        segment = self.row_for(request, segment_id, self.has_fill_permission)
        if not segment.is_static:
            raise Http404
        change = request.POST.get("change", "") if request.method == "POST" else ""
        pasted = PastedForm(request.POST if change and "chosen" not in request.POST else None)
        if change in ("add", "remove") and _change(request, segment, change, pasted):
            return HttpResponseRedirect(request.get_full_path())
        wanted = request.GET.get("q", "").replace("\x00", "").strip()
        context = {
            **self.admin_site.each_context(request),
            "title": f"Who is in {segment}",
            "opts": self.opts,
            "segment": segment,
            "pasted": pasted,
            "wanted": wanted,
            "found": _found(segment, wanted) if wanted else [],
            "members": _members(segment),
            "count": Membership.objects.in_workspace(segment.workspace_id)
            .filter(version=segment.version)
            .count(),
            "list": f"{reverse('admin:segments_membership_changelist')}"
            f"?workspace={segment.workspace_id}&segment={segment.pk}",
        }
        return TemplateResponse(request, "admin/segments/members.html", context)


def _change(request: HttpRequest, segment: Segment, change: str, pasted: PastedForm) -> bool:
    """Put contacts in or take them out, and say how many; False with the error in the form."""
    act, words = {"add": (add_members, "put in"), "remove": (remove_members, "taken out")}[change]
    chosen = [contact_id for text in request.POST.getlist("chosen") if (contact_id := parse_uuid(text))]
    try:
        if chosen:
            done = act(segment.workspace_id, segment, contact_ids=chosen)
        elif not pasted.is_valid():
            return False
        else:
            named = read_member_list(pasted.cleaned_data["pasted"])
            done = act(
                segment.workspace_id, segment, contact_ids=named.contact_ids, identifiers=named.identifiers
            )
    except DomainError as error:
        pasted.add_error("pasted", error.message)
        return False
    _publish(request, done, words, "were in it already" if change == "add" else "were not in it")
    return True


def _publish(request: HttpRequest, done: MembersChanged, words: str, unchanged: str) -> None:
    summary = f"{done.changed:,} {words}, {done.unchanged:,} {unchanged}, {len(done.unknown):,} not found."
    if not done.unknown:
        messages.success(request, summary)
        return
    unknown = ", ".join(done.unknown[:SHOWN_UNKNOWN])
    more = len(done.unknown) - SHOWN_UNKNOWN
    messages.warning(request, f"{summary} Not found: {unknown}{f' and {more:,} more' if more > 0 else ''}.")


def _found(segment: Segment, text: str) -> Sequence[Contact]:
    """Return the contacts of the segment's workspace that a search finds as the list of contacts does."""
    ids = find_contact_ids(Workspace.objects.filter(pk=segment.workspace_id), text)
    contacts = Contact.objects.in_workspace(segment.workspace_id).canonical().filter(pk__in=ids)
    return list(_listed(contacts)[:SHOWN_FOUND])


def _members(segment: Segment) -> Sequence[Contact]:
    members = Membership.objects.in_workspace(segment.workspace_id).filter(version=segment.version)
    contacts = Contact.objects.in_workspace(segment.workspace_id)
    return list(_listed(contacts.filter(pk__in=members.values("contact_id")))[:SHOWN_MEMBERS])


def _listed(contacts: QuerySet[Contact]) -> QuerySet[Contact]:
    return with_details(contacts.order_by("-id"))
