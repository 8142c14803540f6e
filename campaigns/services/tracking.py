"""What readers do with messages, told in the stream; what machines do in their place is marked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Coalesce

from campaigns.models import Message
from campaigns.services.delivery import tell

_MACHINES: Final = re.compile(
    r"bot\b|crawl|spider|preview|scan|(?<!googleimage)proxy|barracuda|mimecast|proofpoint|symantec"
    r"|curl|wget|python|java/|okhttp|go-http|headless|libwww|httpclient",
    re.IGNORECASE,
)
# By Apple's privacy proxy, which fetches every image whether or not anybody looks.
_BARE: Final = frozenset({"", "Mozilla/5.0"})
_TOO_QUICK: Final = timedelta(seconds=2)
_BEFORE_OPEN: Final = (Message.Status.SENT, Message.Status.DELIVERED, Message.Status.UNKNOWN)
_BEFORE_CLICK: Final = (*_BEFORE_OPEN, Message.Status.OPENED)


@dataclass(frozen=True, slots=True)
class Visit:
    """How a link of ours was called."""

    at: datetime
    user_agent: str = ""
    # A browser that loads ahead says so.
    is_prefetch: bool = False


@transaction.atomic
def record_open(message_id: UUID, visit: Visit) -> bool:
    """Note that a message was opened; return whether by a person, as far as one can tell."""
    message = _message(message_id)
    if message is None:
        return False
    is_machine = _is_machine(message, visit)
    if not is_machine:
        rows = Message.objects.in_workspace(message.workspace_id).filter(pk=message.pk)
        rows.update(opened_at=Coalesce("opened_at", visit.at))
        rows.filter(status__in=_BEFORE_OPEN).update(status=Message.Status.OPENED)
    _tell("message.open", message, visit, is_machine, {})
    return not is_machine


@transaction.atomic
def record_click(message_id: UUID, target: str, visit: Visit) -> bool:
    """Note that a link of a message was followed; return whether by a person, as far as one can tell."""
    message = _message(message_id)
    if message is None:
        return False
    is_machine = _is_machine(message, visit)
    if not is_machine:
        rows = Message.objects.in_workspace(message.workspace_id).filter(pk=message.pk)
        # Who clicks has opened it, images or not.
        rows.update(clicked_at=Coalesce("clicked_at", visit.at), opened_at=Coalesce("opened_at", visit.at))
        rows.filter(status__in=_BEFORE_CLICK).update(status=Message.Status.CLICKED)
    _tell("message.click", message, visit, is_machine, {"url": target})
    return not is_machine


def _message(message_id: UUID) -> Message | None:
    # By the signed id alone: the link names no workspace.
    return Message.objects.filter(pk=message_id).first()


def _is_machine(message: Message, visit: Visit) -> bool:
    is_quick = message.sent_at is not None and visit.at - message.sent_at < _TOO_QUICK
    return (
        visit.is_prefetch
        or is_quick
        or visit.user_agent.strip() in _BARE
        or _MACHINES.search(visit.user_agent) is not None
    )


def _tell(name: str, message: Message, visit: Visit, is_machine: bool, more: Mapping[str, Any]) -> None:
    tell(message.workspace_id, [(name, message, visit.at, {**more, "isMachine": is_machine})])
