"""Recipients: a contact's state with that of the contacts merged into it, loaded in one statement."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from campaigns.messaging import liquid
from campaigns.models.messages import Channel
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.models import Identifier
from contacts.profiles.state import ContactState

ADDRESS_KINDS: Final[dict[str, str]] = {Channel.EMAIL: Identifier.EMAIL, Channel.TELEGRAM: "telegram"}
"""The kind of identifier that is a contact's address on a channel; a webhook has none."""
_TIME_ZONE_ATTRIBUTES: Final = ("timeZone", "time_zone", "timezone")
_LOCALE_ATTRIBUTES: Final = ("locale", "language")


@dataclass(frozen=True, slots=True)
class Recipient:
    """A surviving contact with the state of all merged into it."""

    id: UUID
    state: ContactState

    @property
    def ids(self) -> list[UUID]:
        """Its id, then those of the contacts merged into it."""
        return [self.id, *self.state.merged]

    def address(self, channel: str) -> str:
        """Return the address on a channel; "" if there is none."""
        kind = ADDRESS_KINDS.get(channel)
        value = self.state.primary(kind) if kind else None
        # Again: a row from before the form that addresses have now is still that mailbox's.
        return (normalize_identifier(kind, value) or value) if kind and value else ""

    def time_zone(self, default: str) -> ZoneInfo:
        """Return the contact's time zone by its attributes, else `default`, else UTC."""
        for name in _TIME_ZONE_ATTRIBUTES:
            if (zone := zone_named(self.state.attributes.get(name))) is not None:
                return zone
        return zone_named(default) or ZoneInfo("UTC")

    def region(self, time_zone: str, locale: object) -> liquid.Region:
        """Return locale and time zone by the contact's attributes, else those given."""
        candidates = [*(self.state.attributes.get(name) for name in _LOCALE_ATTRIBUTES), locale]
        named = (liquid.locale_named(candidate) for candidate in candidates if isinstance(candidate, str))
        known = next((candidate for candidate in named if candidate is not None), None)
        zone = self.time_zone(time_zone)
        return liquid.Region(zone=zone) if known is None else liquid.Region(known, zone)


def load_recipients(workspace_id: UUID, contact_ids: Collection[UUID]) -> dict[UUID, Recipient]:
    """Return recipients by the given ids, following merges; deleted contacts are left out."""
    found = find(workspace_id, contact_ids, with_states=True)
    return {
        contact_id: Recipient(survivor, found.states[survivor])
        for contact_id, survivor in found.by_id.items()
        if survivor in found.states
    }


def zone_named(name: object) -> ZoneInfo | None:
    """Return the time zone of a name, None if there is none."""
    if not isinstance(name, str) or not name:
        return None
    try:
        return ZoneInfo(name)
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ):  # unknown, or no name of a zone at all, such as a path
        return None
