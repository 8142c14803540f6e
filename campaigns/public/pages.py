"""HTML pages that links in messages lead to: opens, clicks, unsubscribing, preferences, double opt-in.

Plain Django views, since they are pages and no API. Only a POST changes anything: mail programs and scanners follow
links before people do.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import MAX_URL_REDIRECT_LENGTH
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from campaigns.forms.confirmations import confirm_submission, pending_confirmation
from campaigns.messaging.public_links import is_test_confirmation
from campaigns.messaging.suppressions import (
    PREFERENCES,
    UnsubscribeTarget,
    preferences_of,
    set_preferences,
    unsubscribe,
    unsubscribe_target_of,
)
from campaigns.messaging.tracking_events import Visit, record_visit
from campaigns.messaging.tracking_links import location_of, read_click, read_open
from campaigns.models.messages import Channel
from config import clock
from contacts.errors import ContactNotFound
from workspaces.models import Workspace
from workspaces.throttles import hit

VISITS_PER_MESSAGE: Final = "60/hour"
"""How many opens and clicks of one message are recorded."""
TEST_NOTICE: Final = "This link is from a test message or a preview. It acts on nobody."
_PIXEL: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_PREFETCH_HEADERS: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")


# The link itself is what gives the right; there is no session that could be abused.
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class PublicPage(View):
    """A page without a login: its signed link is what authorises it."""

    def page(self, title: str, *, status: int = 200, **more: Any) -> HttpResponse:
        """Render the page template, hidden from search engines and referrers."""
        response = render(self.request, "campaigns/page.html", {"title": title, **more}, status=status)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    def no_such_link(self) -> HttpResponse:
        """Return the 404 page of a link that is forged, cut off or out of date."""
        return self.page("This link does not work", text="It may have been cut off on its way.", status=404)


class OpenView(PublicPage):
    """Tracking pixel: records that an e-mail was opened."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Return a transparent pixel, whatever the token is."""
        message_id = read_open(token)
        if message_id is not None and _may_record(message_id):
            record_visit(message_id, _visit(request))
        return HttpResponse(_PIXEL, content_type="image/gif")


class ClickView(PublicPage):
    """Tracked link in an e-mail: redirects to where the signed link says, and nowhere else."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Record the click and redirect."""
        read = read_click(token)
        if read is None:
            return self.no_such_link()
        message_id, url = read
        location = location_of(url)
        if location is None or len(location) > MAX_URL_REDIRECT_LENGTH:
            return self.no_such_link()
        if _may_record(message_id):
            record_visit(message_id, _visit(request, url))
        response = HttpResponseRedirect(location)
        response["Referrer-Policy"] = "no-referrer"
        return response


class UnsubscribeView(PublicPage):
    """Unsubscribe page; its POST is also the one-click unsubscribing of mail programs (RFC 8058)."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show the button."""
        target = unsubscribe_target_of(token)
        if target is None or _preferences(target) is None:
            return self.no_such_link()
        return self.page(
            "Unsubscribe",
            text="You will get no more of these messages.",
            button="Unsubscribe",
            link=_preferences_path(token),
            notice=_notice(target),
        )

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Unsubscribe from the channel of the message, again if need be."""
        target = unsubscribe_target_of(token)
        if target is None:
            return self.no_such_link()
        if target.contact_id is None:
            return self.page("Nobody is unsubscribed", notice=_notice(target))
        _check_workspace(target.workspace_id)
        with suppress(ContactNotFound):  # who is gone gets nothing any more
            unsubscribe(target.workspace_id, target.contact_id, target.channel, message_id=target.message_id)
        return self.page("You are unsubscribed", text="You will get no more of these messages.")


class PreferencesView(PublicPage):
    """Preference page: the channels that a person wants to hear on."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show the current choices."""
        target = unsubscribe_target_of(token)
        wanted = None if target is None else _preferences(target)
        if target is None or wanted is None:
            return self.no_such_link()
        return self._choices("Your preferences", wanted, _notice(target))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Save changed choices only: a box that is left as it was shown is no consent."""
        target = unsubscribe_target_of(token)
        shown = None if target is None else _preferences(target)
        if target is None or shown is None:
            return self.no_such_link()
        chosen = request.POST.getlist("channel")
        wanted = {str(channel): channel in chosen for channel in PREFERENCES}
        if target.contact_id is None:
            return self._choices("Nobody's preferences are changed", wanted, _notice(target))
        changed = {channel: wants for channel, wants in wanted.items() if wants != shown[channel]}
        _check_workspace(target.workspace_id)
        set_preferences(target.workspace_id, target.contact_id, changed)
        return self._choices("Your preferences are kept", wanted)

    def _choices(self, title: str, wanted: dict[str, bool], notice: str = "") -> HttpResponse:
        labels = dict(Channel.choices)
        choices = [
            {"channel": channel, "label": str(labels[channel]).capitalize(), "wanted": is_wanted}
            for channel, is_wanted in wanted.items()
        ]
        return self.page(
            title,
            text="Choose where you want to hear from us.",
            choices=choices,
            button="Save",
            notice=notice,
        )


class ConfirmView(PublicPage):
    """Confirmation page of a double opt-in."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show the button."""
        is_test = is_test_confirmation(token)
        if not is_test and pending_confirmation(token) is None:
            return self.no_such_link()
        notice = TEST_NOTICE if is_test else ""
        return self.page("Confirm", notice=notice, text="Yes, I want to hear from you.", button="Confirm")

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Opt in."""
        if is_test_confirmation(token):
            return self.page("Nothing is confirmed", notice=TEST_NOTICE)
        submission = pending_confirmation(token)
        if submission is None:
            return self.no_such_link()
        try:
            confirm_submission(submission, now=clock.now())
        except ContactNotFound:
            return self.no_such_link()
        if submission.form.redirect_url:
            return HttpResponseRedirect(submission.form.redirect_url)
        return self.page("Thank you", text="It is confirmed.")


def _preferences(target: UnsubscribeTarget) -> dict[str, bool] | None:
    """Return what a person wants by channel, None if it is gone; a test link shows one who wants everything."""
    if target.contact_id is None:
        return dict.fromkeys(map(str, PREFERENCES), True)
    try:
        return preferences_of(target.workspace_id, target.contact_id)
    except ContactNotFound:
        return None


def _notice(target: UnsubscribeTarget) -> str:
    return TEST_NOTICE if target.contact_id is None else ""


def _check_workspace(workspace_id: UUID) -> None:
    if not Workspace.objects.filter(pk=workspace_id).exists():
        raise Http404


def _preferences_path(token: str) -> str:
    return reverse("preferences-page", args=[token])


def _may_record(message_id: object) -> bool:
    state = hit(f"told:{message_id}", VISITS_PER_MESSAGE, "")
    return state is None or not state.wait_seconds


def _visit(request: HttpRequest, target: str = "") -> Visit:
    purposes = " ".join(request.META.get(name, "") for name in _PREFETCH_HEADERS).lower()
    return Visit(
        clock.now(),
        request.META.get("HTTP_USER_AGENT", ""),
        is_prefetch=request.method == "HEAD" or "prefetch" in purposes or "preview" in purposes,
        target=target,
    )
