"""Stop messages to an address or a person: suppressions, unsubscribing, preferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet

from campaigns.errors import InvalidAddress, SuppressionNotFound
from campaigns.messaging.channels import Bounce
from campaigns.messaging.policy import is_unconfirmed, settings_of
from campaigns.messaging.public_links import read_test_token, read_unsubscribe_token
from campaigns.messaging.recipients import ADDRESS_KINDS
from campaigns.messaging.release import release
from campaigns.models import Message, Suppression
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.statements import execute
from config.values.endpoints import canonical_url
from contacts.crud import get_contact, update_contact
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find, ids_of
from contacts.merging.normalization import normalized_value_of
from contacts.models import Consent, Contact
from contacts.references import ContactChanges

PREFERENCES = (Consent.Channel.EMAIL, Consent.Channel.TELEGRAM)
"""The channels that a contact can choose on the preference page."""


def suppress(
    workspace_id: UUID,
    channel: str,
    address: str,
    *,
    reason: str = Suppression.Reason.MANUAL,
    note: str = "",
    message_id: UUID | None = None,
) -> bool:
    """Suppress an address, whoever has it; return whether that is new. The first reason stays."""
    row = Suppression(
        workspace_id=workspace_id,
        channel=channel,
        address=normalized_address(channel, address),
        reason=reason,
        note=note,
        message_id=message_id,
    )
    Suppression.objects.bulk_create([row], ignore_conflicts=True)
    return Suppression.objects.filter(pk=row.pk).exists()


def add_suppression(
    workspace_id: UUID,
    *,
    channel: str,
    address: str,
    note: str = "",
    reason: str = Suppression.Reason.MANUAL,
) -> tuple[Suppression, bool]:
    """Suppress an address. Returns the row, with its first reason, and whether it is new. Raises InvalidAddress."""
    checked = checked_address(channel, address)
    is_new = suppress(workspace_id, channel, checked, reason=reason, note=note)
    return Suppression.objects.in_workspace(workspace_id).get(channel=channel, address=checked), is_new


def remove_suppression(workspace_id: UUID, suppression_id: UUID) -> None:
    """Remove a suppression, and requeue what it stopped lately. Raises SuppressionNotFound."""
    row = Suppression.objects.in_workspace(workspace_id).filter(id=suppression_id).first()
    if row is None or not unsuppress(workspace_id, row.channel, row.address):
        raise SuppressionNotFound


def record_bounces(bounced: Sequence[tuple[Message, Bounce]], at: datetime) -> None:
    """Suppress addresses after a hard bounce, or after too many soft ones.

    An address has taken nothing for too long once SOFT_BOUNCE_LIMIT messages to its contact came back softly in
    SOFT_BOUNCE_DAYS, and none since is known to have arrived. The count begins anew after that.
    """
    for message, bounce in sorted(bounced, key=lambda entry: (entry[0].address, entry[0].pk)):
        if bounce is Bounce.SOFT:
            message.soft_bounced_at = at
            message.save(update_fields=["soft_bounced_at"])
            is_enough = _is_too_often(message, at)
        else:
            is_enough = bounce is Bounce.HARD
        if is_enough:
            _soft_bounces(message).update(soft_bounced_at=None)
            suppress_recipient_of(message, Suppression.Reason.BOUNCE, message.error)


def suppress_recipient_of(message: Message, reason: str, note: str) -> bool:
    """Suppress the address of a message; return whether that is new.

    An address of before, which none would take now, cannot be written to anyway.
    """
    try:
        return suppress(
            message.workspace_id,
            message.channel,
            message.address,
            reason=reason,
            note=note,
            message_id=message.pk,
        )
    except InvalidAddress:
        return False


def _is_too_often(message: Message, at: datetime) -> bool:
    # Two that count at once would each see one too few.
    execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('soft bounces ' || %s || %s, 0))",
        [str(message.workspace_id), message.address],
    )
    recent = _soft_bounces(message).filter(soft_bounced_at__gt=at - timedelta(days=settings.SOFT_BOUNCE_DAYS))
    arrived = _messages_to(message).filter(status__in=_ARRIVED).aggregate(at=Max("sent_at"))["at"]
    if arrived is not None:
        recent = recent.filter(created_at__gt=arrived)
    count: int = recent.count()
    return count >= int(settings.SOFT_BOUNCE_LIMIT)


def _messages_to(message: Message) -> QuerySet[Message]:
    """Return the messages to an address of a contact."""
    return Message.objects.in_workspace(message.workspace_id).filter(
        contact_id=message.contact_id, channel=message.channel, address=message.address
    )


def _soft_bounces(message: Message) -> QuerySet[Message]:
    return _messages_to(message).exclude(soft_bounced_at=None)


_ARRIVED = (Message.Status.DELIVERED, Message.Status.OPENED, Message.Status.CLICKED)


@transaction.atomic
def unsuppress(workspace_id: UUID, channel: str, address: str) -> bool:
    """Remove the suppression of an address and requeue what it stopped; return whether there was one."""
    spelled = normalized_address(channel, address)
    rows = Suppression.objects.in_workspace(workspace_id).filter(channel=channel, address=spelled)
    was_suppressed = bool(rows.delete()[0])
    if was_suppressed:
        # Also of whom the address has become since they were made: they were looked up by that.
        owners = find(workspace_id, identifiers=[(ADDRESS_KINDS.get(channel, ""), spelled)]).by_identifier
        contact_ids = [contact_id for owner in owners.values() for contact_id in ids_of(workspace_id, owner)]
        release(workspace_id, channel, Reason.SUPPRESSED, address=spelled, contact_ids=contact_ids)
    return was_suppressed


def normalized_address(channel: str, address: str) -> str:
    """Return an address in the form that contacts and suppressions store; an invalid one unchanged."""
    if channel == Channel.WEBHOOK:
        return canonical_url(address) or address.strip()
    return normalize_identifier(ADDRESS_KINDS.get(channel, ""), address) or address.strip()


@dataclass(frozen=True, slots=True)
class UnsubscribeTarget:
    """Whom a link in a message names; `contact_id` None: nobody, since the message was a test or a preview."""

    workspace_id: UUID
    channel: str
    contact_id: UUID | None = None
    message_id: UUID | None = None


def unsubscribe_target_of(token: str) -> UnsubscribeTarget | None:
    """Return whom the token of a link names; None for a forged token."""
    if (test := read_test_token(token)) is not None:
        return UnsubscribeTarget(*test)
    read = read_unsubscribe_token(token)
    if read is None:
        return None
    workspace_id, contact_id, channel, message_id = read
    if message_id is not None and _is_test(workspace_id, message_id):
        return UnsubscribeTarget(workspace_id, channel)
    return UnsubscribeTarget(workspace_id, channel, contact_id, message_id)


def _is_test(workspace_id: UUID, message_id: UUID) -> bool:
    return Message.objects.in_workspace(workspace_id).filter(pk=message_id, is_test=True).exists()


def respell_suppressions(workspace_id: UUID, *, is_dry: bool = False) -> tuple[int, int]:
    """Normalize the addresses of a workspace's suppressions; idempotent.

    Returns how many got it, and how many were a second spelling of one, whose first reason stays.
    """
    respelled = dropped = 0
    rows = Suppression.objects.in_workspace(workspace_id).order_by("id")
    seen = set(rows.values_list("channel", "address"))
    for row in rows.iterator():
        meant = normalized_value_of(ADDRESS_KINDS.get(row.channel, ""), row.address) or row.address
        if meant == row.address:
            continue
        is_second = (row.channel, meant) in seen
        seen.add((row.channel, meant))
        respelled, dropped = respelled + (not is_second), dropped + is_second
        own = Suppression.objects.in_workspace(workspace_id).filter(pk=row.pk)
        if not is_dry and is_second:
            own.delete()
        elif not is_dry:
            own.update(address=meant)
    return respelled, dropped


def checked_address(channel: str, address: str) -> str:
    """Return an address in the form that is stored. Raises InvalidAddress."""
    kind = ADDRESS_KINDS.get(channel)
    spelled = canonical_url(address) if kind is None else normalize_identifier(kind, address)
    if spelled is None:
        raise InvalidAddress(channel)
    return spelled


@transaction.atomic
def unsubscribe(
    workspace_id: UUID, contact_id: UUID, channel: str, *, message_id: UUID | None = None
) -> Contact:
    """Opt a contact out of a channel, and mark the message whose link was used.

    May be said any number of times. Raises ContactNotFound.
    """
    contact = set_preferences(workspace_id, contact_id, {channel: False})
    if message_id is not None:
        messages = Message.objects.in_workspace(workspace_id).filter(
            pk=message_id, contact_id__in=_ids(contact)
        )
        messages.filter(status__in=_AFTER_SENDING).update(status=Message.Status.UNSUBSCRIBED)
    return contact


def preferences_of(workspace_id: UUID, contact_id: UUID) -> dict[str, bool]:
    """Return by channel whether a contact may be written to. Raises ContactNotFound."""
    contact = get_contact(workspace_id, contact_id)
    if contact.merged_into_id is not None:
        contact = get_contact(workspace_id, contact.merged_into_id)
    return {channel: _is_open(workspace_id, channel, contact) for channel in PREFERENCES}


def _is_open(workspace_id: UUID, channel: str, contact: Contact) -> bool:
    consent = contact.consent(channel)
    if consent is None and is_unconfirmed(workspace_id, channel, contact.pk):
        return False
    if settings_of(workspace_id, channel).requires_opt_in:
        return consent == Consent.Status.OPTED_IN
    return consent != Consent.Status.OPTED_OUT


@transaction.atomic
def set_preferences(workspace_id: UUID, contact_id: UUID, wanted: Mapping[str, bool]) -> Contact:
    """Set a contact's consent by channel, with an event. Raises ContactNotFound."""
    consents = {
        channel: Consent.Status.OPTED_IN if wants else Consent.Status.OPTED_OUT
        for channel, wants in wanted.items()
    }
    contact = get_contact(workspace_id, contact_id)
    return update_contact(workspace_id, contact, ContactChanges(consents=consents))


_AFTER_SENDING = (
    Message.Status.SENT,
    Message.Status.DELIVERED,
    Message.Status.OPENED,
    Message.Status.CLICKED,
    Message.Status.UNKNOWN,
)


def _ids(contact: Contact) -> list[UUID]:
    return [contact.pk, *(merged.pk for merged in contact.merged.all())]
