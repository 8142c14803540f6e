"""Map Leadpush's flat attributes to a contact's identifiers, names, consents and attributes."""

from collections.abc import Iterable, Mapping
from typing import Any

from config.ids import parse_uuid
from contacts.models import Consent, Contact, Identifier
from contacts.references import ContactChanges, ContactReference

# Attributes that identify a contact, besides the workspace's own identity field.
IDENTIFIER_ATTRIBUTES = (Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID)
NAME_ATTRIBUTES = ("first_name", "last_name")
# Attributes of every workspace: null where a contact has no value.
STANDARD_ATTRIBUTES = (Identifier.EMAIL, Identifier.PHONE, *NAME_ATTRIBUTES)
CONSENT_CHANNEL = Consent.Channel.EMAIL.value
CONSENT_OF_SUBSCRIBED = {True: Consent.Status.OPTED_IN.value, False: Consent.Status.OPTED_OUT.value}


def reference_to(contact: str, identity_field: str) -> ContactReference:
    """Refer to a contact as a path does: by its UUID if the workspace has that, else by its identity value."""
    identifiers = ((identity_field, contact),)
    if parse_uuid(contact) is None:
        return ContactReference(identifiers=identifiers)
    return ContactReference(id=contact, identifiers=identifiers, id_falls_back=True)


def changes_of(attributes: Mapping[str, Any], subscribed: bool | None) -> ContactChanges:
    """Return the changes of a contact that a body's attributes and `subscribed` ask for.

    An identity field of the workspace's own stays among the attributes: the core keeps its identifier.
    """
    known = (*IDENTIFIER_ATTRIBUTES, *NAME_ATTRIBUTES)
    identifiers = ((name, attributes.get(name)) for name in IDENTIFIER_ATTRIBUTES)
    return ContactChanges(
        first_name=_name(attributes, "first_name"),
        last_name=_name(attributes, "last_name"),
        attributes={name: value for name, value in attributes.items() if name not in known},
        identifiers=tuple((name, value) for name, value in identifiers if value is not None),
        consents={} if subscribed is None else {CONSENT_CHANNEL: CONSENT_OF_SUBSCRIBED[subscribed]},
    )


def cleared_identifiers(attributes: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of identifiers that a body sets to null."""
    return frozenset(
        name for name in IDENTIFIER_ATTRIBUTES if name in attributes and attributes[name] is None
    )


def attributes_of(contact: Contact, fields: Iterable[str]) -> dict[str, Any]:
    """Return a contact's attributes, flat; a declared field without a value is null."""
    identifiers = {
        identifier.kind: identifier.value
        for identifier in contact.known_identifiers
        if identifier.is_primary and identifier.kind in IDENTIFIER_ATTRIBUTES
    }
    return {
        **dict.fromkeys((*STANDARD_ATTRIBUTES, *fields)),
        **contact.attributes,
        **identifiers,
        "first_name": contact.first_name or None,
        "last_name": contact.last_name or None,
    }


def _name(attributes: Mapping[str, Any], name: str) -> str | None:
    if name not in attributes:
        return None
    return attributes[name] or ""
