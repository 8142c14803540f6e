"""Record what an e-mail provider reports later: deliveries, bounces, complaints, unsubscribes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from campaigns.messaging.channels import Bounce
from campaigns.messaging.delivery import MessageEvent, publish_message_events
from campaigns.messaging.suppressions import record_bounces, suppress_recipient_of, unsubscribe
from campaigns.messaging.unknown_outcomes import resolve_message
from campaigns.models import Decision, Message, NewDecision, Suppression
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.errors import storable_text
from contacts.errors import ContactNotFound
from events.names import MESSAGE_BOUNCED, MESSAGE_COMPLAINED
from workspaces.models import Workspace

_MAX_WORDS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Report:
    """A report of a provider about one message; `kind` and `reason` are anymail's `EventType` and `RejectReason`."""

    kind: str
    at: datetime
    # Ours, which went along with the e-mail; else the provider's own id of it.
    message_id: UUID | None = None
    provider_id: str = ""
    reason: str = ""
    words: str = ""
    # What it says of the address; None: nothing that one could go by.
    bounce: Bounce | None = None


@transaction.atomic
def record_report(report: Report) -> str:
    """Record a report; idempotent. Returns "done", "unknown" for no message of ours, or "nothing"."""
    act = _ACTS.get(report.kind)
    if act is None:
        return "nothing"
    message = _message(report)
    if message is None:
        return "unknown"
    if message.status == Message.Status.UNKNOWN and report.kind != "rejected":
        # Whatever became of it later: the provider had it, so it had left.
        message = resolve_message(
            message.workspace_id, message.pk, was_sent=True, provider_id=report.provider_id
        )
    # Nothing happened to it before it was made, whatever a provider's clock says.
    act(message, replace(report, at=max(report.at, message.created_at)))
    return "done"


def _message(report: Report) -> Message | None:
    """Return the message, locked: reports about one may arrive at the same time."""
    messages = Message.objects.filter(channel=Channel.EMAIL)
    if report.message_id is not None:
        messages = messages.filter(pk=report.message_id)
    elif report.provider_id:
        # The report names no workspace, and the index begins with it.
        everywhere = list(Workspace.objects.values_list("pk", flat=True))
        with_one = messages.exclude(provider_id="")
        messages = with_one.filter(workspace_id__in=everywhere, provider_id=report.provider_id)
    else:
        return None
    found = messages.values_list("workspace_id", "pk").first()
    if found is None:
        return None
    return Message.objects.in_workspace(found[0]).select_for_update().filter(pk=found[1]).first()


def _sent(message: Message, report: Report) -> None:
    """No-op: an unknown message was already resolved as sent."""


def _delivered(message: Message, report: Report) -> None:
    if message.status == Message.Status.SENT:
        _set(message, Message.Status.DELIVERED)


def _bounced(message: Message, report: Report) -> None:
    """Record a bounce; hard if the provider says nothing more, soft if its words are not understood."""
    bounce = report.bounce or (Bounce.SOFT if report.words else Bounce.HARD)
    words = _words(report, "bounced")
    if message.status != Message.Status.BOUNCED:
        _set(message, Message.Status.BOUNCED, words)
        record_bounces([(message, bounce)], report.at)
        _note(message, Reason.BOUNCED, report.at, words)
        publish_message_events(
            message.workspace_id, [MessageEvent(MESSAGE_BOUNCED, message, report.at, {"reason": words})]
        )
    elif message.soft_bounced_at is not None and bounce is Bounce.HARD:
        # Some providers tell of a passing failure first.
        record_bounces([(message, bounce)], report.at)


def _rejected(message: Message, report: Report) -> None:
    """Record that the provider dropped the message, by its reason."""
    match report.reason:
        case "unsubscribed":
            _unsubscribed(message, report)
        case "spam" if report.bounce is None:
            _complained(message, report)
        case _ if report.bounce in (Bounce.HARD, Bounce.SOFT):
            _bounced(message, report)
        case "bounced" | "invalid" if report.bounce is None:
            _bounced(message, report)
        case _:
            words = _words(report, "rejected")
            if message.status != Message.Status.FAILED:
                _set(message, Message.Status.FAILED, words)
                _note(message, Reason.SEND_FAILED, report.at, words)


def _note(message: Message, reason: Reason, at: datetime, words: str) -> None:
    decision = NewDecision.about(message, Decision.Kind.NOT_SENT, reason, at, {"message": words})
    Decision.objects.record(message.workspace_id, [decision])


def _words(report: Report, otherwise: str) -> str:
    return storable_text(report.words or report.reason or otherwise, _MAX_WORDS)


def _complained(message: Message, report: Report) -> None:
    if report.bounce is Bounce.REFUSED:
        # A filter's complaint, and no reader's.
        _bounced(message, report)
        return
    is_new = suppress_recipient_of(message, Suppression.Reason.COMPLAINT, report.words[:_MAX_WORDS])
    _unsubscribed(message, report)
    if is_new:
        publish_message_events(
            message.workspace_id, [MessageEvent(MESSAGE_COMPLAINED, message, report.at, {})]
        )


def _unsubscribed(message: Message, report: Report) -> None:
    if message.is_test:  # it may have gone to somebody else than the contact
        return
    try:
        unsubscribe(message.workspace_id, message.contact_id, message.channel, message_id=message.pk)
    except ContactNotFound:
        return


def _set(message: Message, status: str, error: str | None = None) -> None:
    message.status = status
    message.error = message.error if error is None else error
    message.save(update_fields=["status", "error"])


_ACTS: Final[Mapping[str, Callable[[Message, Report], None]]] = {
    "sent": _sent,
    "delivered": _delivered,
    "bounced": _bounced,
    "rejected": _rejected,
    "failed": _rejected,
    "complained": _complained,
    "unsubscribed": _unsubscribed,
}
