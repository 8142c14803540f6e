"""Pages that a link in a message leads to. Only a POST changes anything: programs follow links before people do."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import MAX_URL_REDIRECT_LENGTH
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from campaigns.forms.forms import confirm_submission, pending_confirmation
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

TOLD_PER_MESSAGE: Final = "60/hour"
"""How often one message may tell that it was opened or clicked."""
TEST_NOTICE: Final = "This link is from a test message or a preview. It acts on nobody."
_PIXEL: Final = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
_PREFETCH_HEADERS: Final = ("HTTP_SEC_PURPOSE", "HTTP_PURPOSE", "HTTP_X_PURPOSE", "HTTP_X_MOZ")


# The link itself is what gives the right; there is no session that could be abused.
@method_decorator([csrf_exempt, never_cache], name="dispatch")
class PublicPage(View):
    """A page without a login."""

    def page(self, title: str, *, status: int = 200, **more: Any) -> HttpResponse:
        """Return a page in the house's look."""
        response = render(self.request, "campaigns/page.html", {"title": title, **more}, status=status)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    def no_such_link(self) -> HttpResponse:
        """Return what a link that is not ours, or not any more, leads to."""
        return self.page("This link does not work", text="It may have been cut off on its way.", status=404)


class OpenView(PublicPage):
    """The image in an e-mail."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Return one transparent point, whatever the token is."""
        message_id = read_open(token)
        if message_id is not None and _may_tell(message_id):
            record_visit(message_id, _visit(request))
        return HttpResponse(_PIXEL, content_type="image/gif")


class ClickView(PublicPage):
    """A link in an e-mail."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Lead on to where the signed link says, and nowhere else."""
        read = read_click(token)
        if read is None:
            return self.no_such_link()
        message_id, target = read
        location = location_of(target)
        if location is None or len(location) > MAX_URL_REDIRECT_LENGTH:
            return self.no_such_link()
        if _may_tell(message_id):
            record_visit(message_id, _visit(request, target))
        response = HttpResponseRedirect(location)
        response["Referrer-Policy"] = "no-referrer"
        return response


class UnsubscribeView(PublicPage):
    """One click of the reader's mail program (RFC 8058), or a page with a button."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Ask."""
        addressee = unsubscribe_target_of(token)
        if addressee is None or _preferences(addressee) is None:
            return self.no_such_link()
        return self.page(
            "Unsubscribe",
            text="You will get no more of these messages.",
            button="Unsubscribe",
            link=_other(token),
            notice=_notice(addressee),
        )

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Unsubscribe from the channel of the message, again if need be."""
        addressee = unsubscribe_target_of(token)
        if addressee is None:
            return self.no_such_link()
        if addressee.contact_id is None:
            return self.page("Nobody is unsubscribed", notice=_notice(addressee))
        with suppress(ContactNotFound):  # who is gone gets nothing any more
            unsubscribe(
                _workspace(addressee.workspace_id),
                addressee.contact_id,
                addressee.channel,
                message_id=addressee.message_id,
            )
        return self.page("You are unsubscribed", text="You will get no more of these messages.")


class PreferencesView(PublicPage):
    """What a person wants on which channel."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Show the choices as they are."""
        addressee = unsubscribe_target_of(token)
        wanted = None if addressee is None else _preferences(addressee)
        if addressee is None or wanted is None:
            return self.no_such_link()
        return self._choices("Your preferences", wanted, _notice(addressee))

    def post(self, request: HttpRequest, token: str) -> HttpResponse:
        """Keep what was changed: a box that is left as it was shown is no consent."""
        addressee = unsubscribe_target_of(token)
        shown = None if addressee is None else _preferences(addressee)
        if addressee is None or shown is None:
            return self.no_such_link()
        chosen = request.POST.getlist("channel")
        wanted = {str(channel): channel in chosen for channel in PREFERENCES}
        if addressee.contact_id is None:
            return self._choices("Nobody's preferences are changed", wanted, _notice(addressee))
        changed = {channel: wants for channel, wants in wanted.items() if wants != shown[channel]}
        set_preferences(_workspace(addressee.workspace_id), addressee.contact_id, changed)
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
    """The link in the e-mail of a double opt-in."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, token: str) -> HttpResponse:
        """Ask."""
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


def _preferences(addressee: UnsubscribeTarget) -> dict[str, bool] | None:
    """Return what a person wants, None if it is gone; a test shows how the page looks to somebody who wants all."""
    if addressee.contact_id is None:
        return dict.fromkeys(map(str, PREFERENCES), True)
    try:
        return preferences_of(addressee.workspace_id, addressee.contact_id)
    except ContactNotFound:
        return None


def _notice(addressee: UnsubscribeTarget) -> str:
    return TEST_NOTICE if addressee.contact_id is None else ""


def _workspace(workspace_id: Any) -> Workspace:
    workspace = Workspace.objects.filter(pk=workspace_id).first()
    if workspace is None:
        raise Http404
    return workspace


def _other(token: str) -> str:
    return reverse("preferences-page", args=[token])


def _may_tell(message_id: object) -> bool:
    state = hit(f"told:{message_id}", TOLD_PER_MESSAGE, "")
    return state is None or not state.wait_seconds


def _visit(request: HttpRequest, target: str = "") -> Visit:
    purposes = " ".join(request.META.get(name, "") for name in _PREFETCH_HEADERS).lower()
    return Visit(
        clock.now(),
        request.META.get("HTTP_USER_AGENT", ""),
        is_prefetch=request.method == "HEAD" or "prefetch" in purposes or "preview" in purposes,
        target=target,
    )
