"""Confirmation pages of the admin: what an action does, whom it affects, and a token valid once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from config import clock
from config.http.rendering import dumps
from config.ids import NO_ID, parse_uuid
from workspaces.models import Confirmation
from workspaces.staff.permissions import admin_of

FIELD: Final = "confirmed"
"""Form field with the confirmation token."""
LIFETIME: Final = timedelta(hours=1)
SAMPLES: Final = 10
_NOT_ASKED: Final = ("csrfmiddlewaretoken", FIELD)


@dataclass(frozen=True, slots=True)
class AffectedRows:
    """The rows that an action affects: their number, and samples as table rows."""

    count: int
    noun: str
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    note: str = ""
    model: type[Model] | None = None
    """The rows' model: users who may not view it get the number only."""

    @property
    def words(self) -> str:
        """Return the number and note, such as `1,204 contacts`."""
        return f"{self.count:,} {self.noun}{'' if self.count == 1 else 's'} {self.note}".strip()

    @property
    def more(self) -> int:
        """Return the number of rows beyond the samples."""
        return max(self.count - len(self.rows), 0)

    @property
    def table(self) -> dict[str, Any]:
        """Return the samples for Unfold's table."""
        return {"headers": list(self.headers), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Question:
    """A question to confirm: what happens, and to whom. `button` names the action in a word or two."""

    title: str
    button: str
    happens: Sequence[str]
    concerned: Sequence[AffectedRows] = ()
    is_final: bool = False
    """Whether it cannot be undone."""


def ask(
    request: HttpRequest, model_admin: Any, question: Callable[[], Question | None], *, back: str = ""
) -> HttpResponse | None:
    """Return None if the user confirmed exactly this, or nothing is to be asked; else the page that asks.

    A confirmation counts once. The request is a POST, whose fields the page repeats. `back`: where declining
    leads, by default the same URL. Raises whatever `question` raises.
    """
    way_back = back or request.get_full_path()
    if FIELD in request.POST:
        if _take(request):
            return None
        messages.warning(request, "That was done already, or was asked too long ago. Nothing was done now.")
        return HttpResponseRedirect(way_back)
    asked = question()
    if asked is None:
        return None
    asked = replace(asked, concerned=[_as_seen(request, affected) for affected in asked.concerned])
    fields = [
        (name, value) for name, values in request.POST.lists() if name not in _NOT_ASKED for value in values
    ]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": asked.title,
        "opts": model_admin.opts,
        "question": asked,
        "fields": fields,
        "token_name": FIELD,
        "token": _issue(request),
        "back": way_back,
    }
    return TemplateResponse(request, "admin/confirmation.html", context)


def _as_seen(request: HttpRequest, concerned: AffectedRows) -> AffectedRows:
    if concerned.model is None or admin_of(concerned.model).has_view_permission(request):
        return concerned
    return replace(concerned, rows=())


def _issue(request: HttpRequest) -> str:
    """Store the question and return its token; delete expired ones."""
    now = clock.now()
    Confirmation.objects.filter(user_id=_user_of(request), created_at__lt=now - LIFETIME).delete()
    asked = Confirmation.objects.create(user_id=_user_of(request), asked=_digest_of(request), created_at=now)
    return str(asked.pk)


def _take(request: HttpRequest) -> bool:
    """Tell whether the token is valid for this request, and use it up."""
    matching = Confirmation.objects.filter(
        pk=parse_uuid(request.POST[FIELD]) or NO_ID,
        user_id=_user_of(request),
        asked=_digest_of(request),
        created_at__gte=clock.now() - LIFETIME,
    )
    deleted, _ = matching.delete()
    return deleted == 1


def _user_of(request: HttpRequest) -> str:
    return str(request.user.pk)


def _digest_of(request: HttpRequest) -> bytes:
    """Return a hash of the request's URL and fields."""
    fields = sorted((name, values) for name, values in request.POST.lists() if name not in _NOT_ASKED)
    return hashlib.sha256(dumps([request.get_full_path(), fields])).digest()
