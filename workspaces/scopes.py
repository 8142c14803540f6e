"""Scopes of API keys, roles and OAuth; OAuth writes them with a dot."""

from collections.abc import Iterable
from dataclasses import dataclass

SCOPES = {
    "events:write": "Record events",
    "events:read": "Read events",
    "contacts:write": "Create, change and delete contacts",
    "contacts:read": "Read contacts",
    "definitions:write": "Declare and change event definitions",
    "definitions:read": "Read event definitions",
    "scoring:write": "Create, change and delete scoring rules",
    "scoring:read": "Read scoring rules",
    "segments:write": "Create, change, build and delete segments, and fill static ones",
    "segments:read": "Read segments, who is in them and why",
    "campaigns:write": "Create, change, start and stop campaigns, templates and forms, and say how channels are used",
    "campaigns:read": "Read campaigns, what they decided and why, templates, forms and channels",
    "messages:write": "Send messages, settle them, and suppress addresses",
    "messages:read": "Read messages and suppressions",
    "keys:write": "Issue and revoke API keys",
    "keys:read": "Read the list of API keys",
}
ALL_SCOPES = frozenset(SCOPES)
READ_SCOPES = frozenset(
    scope for scope in SCOPES if scope.endswith(":read") and not scope.startswith("keys:")
)
EDIT_SCOPES = frozenset(scope for scope in SCOPES if not scope.startswith("keys:"))


@dataclass(frozen=True, slots=True)
class Need:
    """Scopes that some requests of a method need besides; `when` says which, for docs/api.md.

    Several scopes are one text, divided by spaces, as in OAuth. `action` is a viewset's, "": all of the
    method.
    """

    method: str
    scopes: str
    when: str
    action: str = ""


def missing_scopes(wanted: str, own: frozenset[str]) -> list[str]:
    """Return the scopes of `wanted`, separated by spaces, that are not in `own`."""
    return [scope for scope in wanted.split() if scope not in own]


def unknown_scopes(scopes: Iterable[str]) -> list[str]:
    """Return the scopes that do not exist, in their order."""
    return [scope for scope in scopes if scope not in SCOPES]


def from_oauth(scope: str) -> frozenset[str]:
    """Return the scopes that an OAuth scope string names: `events.write` is `events:write`."""
    return frozenset(name.replace(".", ":", 1) for name in scope.split())


def to_oauth(scopes: Iterable[str]) -> list[str]:
    """Return scopes in OAuth's form: `events:write` is `events.write`."""
    return [scope.replace(":", ".", 1) for scope in scopes]
