"""Unsubscribe groups: why nothing is sent to a contact's address any more."""

from collections.abc import Mapping
from typing import Any, Final

from campaigns.messaging.suppressions import normalized_address
from campaigns.models import Suppression
from campaigns.models.messages import Channel
from contacts.models import Consent, Contact

_UNSUBSCRIBED: Final = {
    "id": "UNSUBSCRIBED",
    "name": "Global Unsubscribes",
    "description": "Whoever unsubscribed, and whose address was suppressed by hand",
}
# By why an address is suppressed.
_GROUPS: Final[Mapping[str, Mapping[str, str]]] = {
    Suppression.Reason.MANUAL: _UNSUBSCRIBED,
    Suppression.Reason.BOUNCE: {
        "id": "BOUNCED",
        "name": "Bounced Addresses",
        "description": "Addresses that take no mail",
    },
    Suppression.Reason.COMPLAINT: {
        "id": "SPAM_REPORTED",
        "name": "Reported Spam",
        "description": "Whoever reported a mail as spam",
    },
}


def unsubscribe_groups_of(contact: Contact) -> list[dict[str, Any]]:
    """Return the groups that a contact with its details is in, by its address and its consent to e-mail."""
    groups: list[Mapping[str, str]] = []
    if contact.consent(Consent.Channel.EMAIL) == Consent.Status.OPTED_OUT:
        groups.append(_UNSUBSCRIBED)
    if contact.email is not None:
        address = normalized_address(Channel.EMAIL, contact.email)
        rows = Suppression.objects.in_workspace(contact.workspace_id)
        for reason in rows.filter(channel=Channel.EMAIL, address=address).values_list("reason", flat=True):
            if _GROUPS[reason] not in groups:
                groups.append(_GROUPS[reason])
    return [{**group, "isActive": True, "isGlobal": True} for group in groups]
