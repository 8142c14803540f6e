"""Public URLs in outgoing messages, signed against forgery."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.conf import settings
from django.core import signing

from config.ids import parse_uuid

_UNSUBSCRIBE: Final = "unsubscribe"
_TEST: Final = "test"
_TEST_CONFIRMATION: Final = "test-confirmation"


def public_url(path: str) -> str:
    """Return the public URL of a path: PUBLIC_URL and the path."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def token_for(purpose: str, *parts: object) -> str:
    """Return a signed token of parts without colons, valid for one purpose only."""
    return signing.Signer(salt=f"campaigns.{purpose}").sign(":".join(map(str, parts)))


def read_token(purpose: str, token: str) -> list[str] | None:
    """Return the parts of a token; None if it is forged or of another purpose."""
    try:
        return signing.Signer(salt=f"campaigns.{purpose}").unsign(token).split(":")
    except signing.BadSignature:
        return None


def unsubscribe_token(workspace_id: UUID, contact_id: UUID, channel: str, message_id: UUID | None) -> str:
    """Return the token of unsubscribe and preference links."""
    return token_for(
        _UNSUBSCRIBE, workspace_id.hex, contact_id.hex, channel, message_id.hex if message_id else ""
    )


def read_unsubscribe_token(token: str) -> tuple[UUID, UUID, str, UUID | None] | None:
    """Return workspace, contact, channel and message of an unsubscribe token; None if it is none."""
    parts = read_token(_UNSUBSCRIBE, token)
    if parts is None or len(parts) != 4:
        return None
    workspace_id, contact_id = parse_uuid(parts[0]), parse_uuid(parts[1])
    if workspace_id is None or contact_id is None:
        return None
    return workspace_id, contact_id, parts[2], parse_uuid(parts[3])


def token_of_test(workspace_id: UUID, channel: str) -> str:
    """Return the token of links in test messages and previews; it names nobody."""
    return token_for(_TEST, workspace_id.hex, channel)


def read_test_token(token: str) -> tuple[UUID, str] | None:
    """Return workspace and channel of a test token; None if it is none."""
    parts = read_token(_TEST, token)
    workspace_id = parse_uuid(parts[0]) if parts and len(parts) == 2 else None
    return (workspace_id, parts[1]) if parts and workspace_id else None


def confirmation_url_of_test(workspace_id: UUID) -> str:
    """Return the confirmation link of a test message or a preview; it confirms nothing."""
    return public_url(f"/forms/confirm/{token_for(_TEST_CONFIRMATION, workspace_id.hex)}")


def is_test_confirmation(token: str) -> bool:
    """Tell whether a token is of a test's confirmation link."""
    return read_token(_TEST_CONFIRMATION, token) is not None


def unsubscribe_url(token: str) -> str:
    """Return the URL of the unsubscribe page, which is also the one-click address."""
    return public_url(f"/unsubscribe/{token}")


def preferences_url(token: str) -> str:
    """Return the URL of the preference page."""
    return public_url(f"/preferences/{token}")
