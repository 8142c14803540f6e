"""Addresses of our own pages in what leaves the house, and the signatures that make them nobody else's to write."""

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
    """Return a path of ours as the world reaches it."""
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"


def token_for(purpose: str, *parts: object) -> str:
    """Return signed text that holds these parts, none of which has a colon; good for one purpose only."""
    return signing.Signer(salt=f"campaigns.{purpose}").sign(":".join(map(str, parts)))


def read_token(purpose: str, token: str) -> list[str] | None:
    """Return the parts that a token of ours holds; None: it is not one."""
    try:
        return signing.Signer(salt=f"campaigns.{purpose}").unsign(token).split(":")
    except signing.BadSignature:
        return None


def unsubscribe_token(workspace_id: UUID, contact_id: UUID, channel: str, message_id: UUID | None) -> str:
    """Return what a person unsubscribes and sees its preferences with."""
    return token_for(
        _UNSUBSCRIBE, workspace_id.hex, contact_id.hex, channel, message_id.hex if message_id else ""
    )


def read_unsubscribe_token(token: str) -> tuple[UUID, UUID, str, UUID | None] | None:
    """Return workspace, contact, channel and message of such a token; None: it is not one."""
    parts = read_token(_UNSUBSCRIBE, token)
    if parts is None or len(parts) != 4:
        return None
    workspace_id, contact_id = parse_uuid(parts[0]), parse_uuid(parts[1])
    if workspace_id is None or contact_id is None:
        return None
    return workspace_id, contact_id, parts[2], parse_uuid(parts[3])


def token_of_test(workspace_id: UUID, channel: str) -> str:
    """Return what stands in the links of a test message or a preview: it names nobody."""
    return token_for(_TEST, workspace_id.hex, channel)


def read_test_token(token: str) -> tuple[UUID, str] | None:
    """Return workspace and channel of such a token; None: it is not one."""
    parts = read_token(_TEST, token)
    workspace_id = parse_uuid(parts[0]) if parts and len(parts) == 2 else None
    return (workspace_id, parts[1]) if parts and workspace_id else None


def confirmation_url_of_test(workspace_id: UUID) -> str:
    """Return what stands for the link of a double opt-in in a test message or a preview."""
    return public_url(f"/forms/confirm/{token_for(_TEST_CONFIRMATION, workspace_id.hex)}")


def is_test_confirmation(token: str) -> bool:
    """Tell whether a token is of such a link."""
    return read_token(_TEST_CONFIRMATION, token) is not None


def unsubscribe_url(token: str) -> str:
    """Return the page, and the one-click address, that unsubscribes."""
    return public_url(f"/unsubscribe/{token}")


def preferences_url(token: str) -> str:
    """Return the page of a person's preferences."""
    return public_url(f"/preferences/{token}")
