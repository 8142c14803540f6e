"""Normalize values of rules to the form in which what they are compared with is stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from config.values.emails import canonical_email_part
from config.values.phones import canonical_phone_part
from contacts.identifiers import normalize_identifier
from contacts.models import Identifier
from events.names import (
    CONTACT_CREATED,
    CONTACT_SUBSCRIBED,
    CONTACT_UNSUBSCRIBED,
    CONTACT_UPDATED,
    MESSAGE_PREFIX,
)
from events.rules.nodes import EQUALITY, Comparison

# By the names that rules have for fields of a contact, and those that the stream has for what changed of it.
_KINDS: Final = {
    "email": Identifier.EMAIL,
    "phone": Identifier.PHONE,
    "externalId": Identifier.EXTERNAL_ID,
    "external_id": Identifier.EXTERNAL_ID,
}
_NAMES: Final = frozenset({"firstName", "lastName", "first_name", "last_name"})
_PARTS: Final = frozenset({"contains", "not_contains", "starts_with", "ends_with"})
_CHANGED: Final = re.compile(r"(?:properties|metadata)\.(?:new|old)\.(\w+)")
# The wire has these in capitals, and rules about consent take them so.
_ENUMERATION: Final = re.compile(r"(?:properties|metadata)\.(?:new\.|old\.)?(channel|status)")
_TOLD_WITH_THEM: Final = (CONTACT_SUBSCRIBED, CONTACT_UNSUBSCRIBED, MESSAGE_PREFIX)
_EXPECTED: Final = {
    Identifier.EMAIL: 'no contact can have it: an e-mail address or a part of one is needed, such as "@example.com".',
    Identifier.PHONE: "no contact can have it: a phone number or a part of one is needed.",
}


def field_as_recorded(event_name: str, field: str) -> str:
    """Return what a property of an event that the system tells of is: a field of the contact, a channel, a status.

    "": of others nothing is known.
    """
    if event_name in (CONTACT_CREATED, CONTACT_UPDATED):
        found = _CHANGED.fullmatch(field)
    else:
        found = _ENUMERATION.fullmatch(field) if event_name.startswith(_TOLD_WITH_THEM) else None
    return found[1] if found else ""


def normalize_comparison(field: str, comparison: Comparison) -> Comparison | str:
    """Return a comparison of a field with values as the store spells them, or why there is no such."""
    spell = _spelling(field, comparison.operator)
    if spell is None:
        return comparison
    is_list = isinstance(comparison.value, tuple)
    values = [spell(element) for element in (comparison.value if is_list else (comparison.value,))]
    if None in values:
        odd = (comparison.value if is_list else (comparison.value,))[values.index(None)]
        return f'"{odd}": {_EXPECTED[_KINDS[field]]}'
    return replace(comparison, value=tuple(values) if is_list else values[0])


def _spelling(field: str, operator: str) -> Callable[[Any], str | None] | None:
    kind = _KINDS.get(field)
    if operator in EQUALITY:
        if kind in _EXPECTED:
            return lambda value: normalize_identifier(kind, value)
        if kind is not None:
            return lambda value: normalize_identifier(kind, value) or value
        return _trimmed if field in _NAMES else _lowered if field in ("channel", "status") else None
    if operator not in _PARTS or kind not in _EXPECTED:
        return None
    starts, ends = operator == "starts_with", operator == "ends_with"
    if kind == Identifier.EMAIL:
        return lambda value: canonical_email_part(str(value), starts=starts, ends=ends)
    return lambda value: canonical_phone_part(str(value), starts=starts)


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value
