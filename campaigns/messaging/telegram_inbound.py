"""Telegram updates: record each private message to a workspace's bot as an event of a contact."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import requests
from django.conf import settings as django_settings
from django.utils.crypto import constant_time_compare

from campaigns.errors import NoBot, RegistrationRefused
from campaigns.messaging.public_links import public_url
from campaigns.models import ChannelSettings
from campaigns.models.messages import Channel
from config.secret_keys import derived_keys
from contacts.errors import PersonErased
from contacts.models import Consent
from contacts.references import ContactChanges, ContactReference
from events.errors import InvalidEventTime
from events.names import TELEGRAM_CHAT_CHANGED, TELEGRAM_MESSAGE_RECEIVED
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy

KIND: Final = "telegram"
"""The kind of identifier that a private chat's id is."""
_TIMEOUT_SECONDS: Final = (5.0, 15.0)
_PROOF_BYTES: Final = 12
_MAX_TEXT: Final = 5_000
_LAST_SECOND: Final = 2**33
_STATUSES: Final = {"/start": Consent.Status.OPTED_IN, "/stop": Consent.Status.OPTED_OUT}
_CHATS: Final = {"member": Consent.Status.OPTED_IN, "kicked": Consent.Status.OPTED_OUT}


def webhook_secret(workspace_id: UUID, token: str) -> str:
    """Return the secret that Telegram sends with every update."""
    return next(_webhook_secrets(workspace_id, token))


def is_webhook_secret(given: str, workspace_id: UUID, token: str) -> bool:
    """Tell whether an update came with our secret, or with one of a rotated key."""
    return any(constant_time_compare(given, secret) for secret in _webhook_secrets(workspace_id, token))


def start_payload(workspace_id: UUID, contact_id: UUID) -> str:
    """Return the payload of `https://t.me/<bot>?start=…` that links a chat to a contact."""
    return _spelled(contact_id.bytes + next(_proofs(workspace_id, contact_id)))


def register_webhook(workspace_id: UUID) -> str:
    """Register our webhook with Telegram, and return its URL. Raises NoBot, RegistrationRefused."""
    token = bot_token(workspace_id)
    if not token:
        raise NoBot
    url = public_url(f"/api/webhooks/telegram/{workspace_id}")
    body = {
        "url": url,
        "secret_token": webhook_secret(workspace_id, token),
        "allowed_updates": ["message", "my_chat_member"],
    }
    address = f"{django_settings.TELEGRAM_API_URL}/bot{token}/setWebhook"
    try:
        answer: Any = requests.post(address, json=body, timeout=_TIMEOUT_SECONDS).json()
    except requests.RequestException as error:
        raise RegistrationRefused(str(error).replace(token, "…")) from None
    if not isinstance(answer, dict) or not answer.get("ok"):
        description = answer.get("description") if isinstance(answer, dict) else None
        raise RegistrationRefused(str(description or "no answer of Telegram's"))
    return url


def bot_token(workspace_id: UUID) -> str:
    """Return the token of a workspace's bot; "" without one."""
    rows = ChannelSettings.objects.in_workspace(workspace_id).filter(channel=Channel.TELEGRAM)
    return next(iter(rows.values_list("secret", flat=True)), "")


def record_update(workspace_id: UUID, update: Mapping[str, Any]) -> str:
    """Record an update of a private chat, once. Returns "recorded", "duplicate" or "ignored"."""
    incoming = _incoming(workspace_id, update)
    if incoming is None:
        return "ignored"
    (outcome,) = record_events(workspace_id, [incoming], schema_policy=SchemaPolicy.OPEN, source="system")
    if isinstance(outcome.error, PersonErased | InvalidEventTime):
        return "ignored"
    outcome.recorded()
    return outcome.status


def _incoming(workspace_id: UUID, update: Mapping[str, Any]) -> IncomingEvent | None:
    """Return the event of an update; None for a group's and for other kinds."""
    message, status = _message_of(update)
    chat, sender = _part(message, "chat"), _part(message, "from")
    number = update.get("update_id")
    if chat.get("type") != "private" or not isinstance(chat.get("id"), int) or not isinstance(number, int):
        return None
    text = str(message.get("text") or message.get("caption") or "").replace("\x00", "")[:_MAX_TEXT]
    command, _, payload = text.partition(" ")
    status = status or _STATUSES.get(command)
    properties = {
        "chatId": str(chat["id"]),
        "messageId": message.get("message_id"),
        "text": text,
        "username": _word(sender.get("username")),
        "languageCode": _word(sender.get("language_code")),
    }
    return IncomingEvent(
        TELEGRAM_MESSAGE_RECEIVED if "message" in update else TELEGRAM_CHAT_CHANGED,
        _reference(workspace_id, str(chat["id"]), sender, status, payload if command == "/start" else ""),
        properties={name: value for name, value in properties.items() if value is not None},
        occurred_at=_moment(message.get("date")),
        message_id=f"telegram:{number}",
    )


def _message_of(update: Mapping[str, Any]) -> tuple[Mapping[str, Any], str | None]:
    """Return the message or membership change of an update, and the consent that the change means."""
    if message := _part(update, "message"):
        return message, None
    change = _part(update, "my_chat_member")
    return change, _CHATS.get(str(_part(change, "new_chat_member").get("status")))


def _reference(
    workspace_id: UUID, chat_id: str, sender: Mapping[str, Any], status: str | None, payload: str
) -> ContactReference:
    contact_id = _contact_in(workspace_id, payload)
    return ContactReference(
        id=str(contact_id) if contact_id else None,
        id_falls_back=True,
        identifiers=((KIND, chat_id),),
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(
            # Of whom we know already, the name that we know is the better one.
            first_name=None if contact_id else _word(sender.get("first_name")),
            last_name=None if contact_id else _word(sender.get("last_name")),
            consents={Consent.Channel.TELEGRAM: str(status)} if status else {},
        ),
    )


def _contact_in(workspace_id: UUID, payload: str) -> UUID | None:
    """Return the contact of a start payload; None if it is not ours."""
    try:
        raw = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except ValueError:
        return None
    if len(raw) != 16 + _PROOF_BYTES:
        return None
    contact_id = UUID(bytes=raw[:16])
    proofs = _proofs(workspace_id, contact_id)
    return contact_id if any(hmac.compare_digest(raw[16:], proof) for proof in proofs) else None


def _webhook_secrets(workspace_id: UUID, token: str) -> Iterator[str]:
    for key in derived_keys("telegram-webhook"):
        yield hmac.new(key.encode(), workspace_id.bytes + token.encode(), "sha256").hexdigest()


def _proofs(workspace_id: UUID, contact_id: UUID) -> Iterator[bytes]:
    for key in derived_keys("telegram-start"):
        yield hmac.digest(key.encode(), workspace_id.bytes + contact_id.bytes, "sha256")[:_PROOF_BYTES]


def _spelled(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = of.get(name)
    return part if isinstance(part, Mapping) else {}


def _word(value: object) -> str | None:
    return value.replace("\x00", "")[:255] if isinstance(value, str) and value else None


def _moment(seconds: object) -> datetime | None:
    if isinstance(seconds, int) and 0 <= seconds < _LAST_SECOND:
        return datetime.fromtimestamp(seconds, UTC)
    return None
