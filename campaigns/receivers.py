"""Signal receivers of campaigns: opt-ins of contacts, and events of e-mail providers."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from anymail.signals import AnymailTrackingEvent, tracking
from django.dispatch import receiver

from campaigns.messaging.channels.providers import classify, message_id_of
from campaigns.messaging.provider_reports import Report, record_report
from campaigns.messaging.release import release
from campaigns.reasons import Reason
from config import clock
from config.db.errors import storable_text
from config.ids import parse_uuid
from contacts.identity.lookup import ids_of
from contacts.models import Consent
from contacts.signals import ContactChange, contacts_changed, effects_of_changes


@receiver(contacts_changed, dispatch_uid="campaigns.release_messages")
def release_messages(workspace_id: UUID, changes: Sequence[ContactChange], **_: Any) -> None:
    """Enqueue messages again that were stopped for want of consent, when the contact opts in.

    History sends nothing: a list that opts people in has to be allowed all effects.
    """
    if effects_of_changes() != "all":
        return
    new = {change.contact_id for change in changes if change.kind == "created"}
    for change in changes:
        if change.kind == "subscribed" and change.contact_id not in new:
            had_opted_out = change.old.get("status") == Consent.Status.OPTED_OUT
            reason = Reason.OPTED_OUT if had_opted_out else Reason.NO_CONSENT
            ids = ids_of(workspace_id, change.contact_id)
            release(workspace_id, change.new["channel"], reason, contact_ids=ids)


@receiver(tracking, dispatch_uid="campaigns.record_provider_event")
def record_provider_event(event: AnymailTrackingEvent, esp_name: str = "", **_: Any) -> None:
    """Record an e-mail provider's report: a delivery, bounce or complaint."""
    descriptions = [storable_text(text) for text in (event.mta_response, event.description) if text]
    metadata = event.metadata if isinstance(event.metadata, Mapping) else {}
    provider_id = storable_text(event.message_id or "")
    report = Report(
        kind=event.event_type or "",
        at=_moment(event.timestamp),
        message_id=parse_uuid(metadata.get("message_id"))
        or message_id_of(esp_name, event.esp_event, provider_id),
        provider_id=provider_id,
        reason=event.reject_reason or "",
        words=next(iter(descriptions), ""),
        bounce=classify(esp_name, event.esp_event, " ".join(descriptions)),
    )
    record_report(report)


def _moment(timestamp: datetime | None) -> datetime:
    """Return a provider's timestamp in UTC, or now if it has none or lies in the future."""
    now = clock.now()
    if timestamp is None:
        return now
    return min(timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp, now)
