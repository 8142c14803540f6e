"""What staff are shown and asked before many are written to, or something is gone: whom it concerns."""

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
"""The field of a request that says yes."""
LIFETIME: Final = timedelta(hours=1)
SAMPLES: Final = 10
_NOT_ASKED: Final = ("csrfmiddlewaretoken", FIELD)


@dataclass(frozen=True, slots=True)
class AffectedRows:
    """Whom or what an action is about: how many, and some of them, a row of cells each."""

    count: int
    noun: str
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    note: str = ""
    model: type[Model] | None = None
    """What the rows are of: who may not see such rows is told how many there are."""

    @property
    def words(self) -> str:
        """How many there are, such as `1,204 contacts`, and what the note says of them."""
        return f"{self.count:,} {self.noun}{'' if self.count == 1 else 's'} {self.note}".strip()

    @property
    def more(self) -> int:
        """How many there are beside those in the rows."""
        return max(self.count - len(self.rows), 0)

    @property
    def table(self) -> dict[str, Any]:
        """The rows as unfold's table takes them."""
        return {"headers": list(self.headers), "rows": [list(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: what would happen, and to whom. `button` says what is done, in a word or two."""

    title: str
    button: str
    happens: Sequence[str]
    concerned: Sequence[AffectedRows] = ()
    is_final: bool = False
    """Whether it cannot be undone."""


def ask(
    request: HttpRequest, model_admin: Any, question: Callable[[], Question | None], *, back: str = ""
) -> HttpResponse | None:
    """Return None if the user has said yes to just this, or nothing is to be asked; else the page that asks.

    A yes counts once: whoever sends it twice is told that it was done already. The request is a POST, and what it
    holds is asked again as it is. `back`: the page that a user who says no goes to, the same address by default.
    Raises whatever `question` raises.
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
    asked = replace(asked, concerned=[_as_seen(request, one) for one in asked.concerned])
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
    """Note what is asked, and forget what was asked too long ago."""
    now = clock.now()
    Confirmation.objects.filter(user_id=_user_of(request), created_at__lt=now - LIFETIME).delete()
    asked = Confirmation.objects.create(user_id=_user_of(request), asked=_digest_of(request), created_at=now)
    return str(asked.pk)


def _take(request: HttpRequest) -> bool:
    """Return whether this was asked and is not answered yet; of several at once, one gets it."""
    open_ones = Confirmation.objects.filter(
        pk=parse_uuid(request.POST[FIELD]) or NO_ID,
        user_id=_user_of(request),
        asked=_digest_of(request),
        created_at__gte=clock.now() - LIFETIME,
    )
    deleted, _ = open_ones.delete()
    return deleted == 1


def _user_of(request: HttpRequest) -> str:
    return str(request.user.pk)


def _digest_of(request: HttpRequest) -> bytes:
    """Return what tells one request from another: its address and its fields."""
    fields = sorted((name, values) for name, values in request.POST.lists() if name not in _NOT_ASKED)
    return hashlib.sha256(dumps([request.get_full_path(), fields])).digest()
