"""Send transactional e-mails, such as receipts, to addresses; who is unknown becomes a contact."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from campaigns.messaging.queue import EnqueuedMessage, MessageRequest, RefusedMessage, enqueue_many
from campaigns.models import Template
from campaigns.models.messages import Channel
from config import clock, ids
from config.errors import DomainError
from contacts.identity.resolution import resolve_contacts
from contacts.models import Identifier
from contacts.references import ContactReference, Resolution

Outcome = EnqueuedMessage | RefusedMessage | DomainError


@dataclass(frozen=True, slots=True)
class EmailRecipient:
    """An address in any spelling, and what the template can speak of for it, by name."""

    address: str
    values: Mapping[str, Any] = field(default_factory=dict)


@transaction.atomic
def send_emails(
    workspace_id: UUID,
    template: Template,
    recipients: Sequence[EmailRecipient],
    *,
    headers: Mapping[str, str] | None = None,
    batch_id: UUID | None = None,
) -> list[Outcome]:
    """Enqueue a message for each recipient, or return why not, in a fixed number of statements.

    They go where the contact is written to, which may be another of its addresses. Consent, caps and quiet hours are
    not asked for; suppressions are. `batch_id` stands in the messages' keys. Raises TryAgain.
    """
    batch_id = batch_id or ids.uuid7()
    found = resolve_contacts(
        workspace_id,
        [
            ContactReference(identifiers=((Identifier.EMAIL, each.address),), if_missing="create")
            for each in recipients
        ],
    )
    requests = {
        place: MessageRequest(
            result.contact_id,
            Channel.EMAIL,
            template,
            f"api:{batch_id}:{place}",
            is_transactional=True,
            values=recipients[place].values,
            headers=headers or {},
        )
        for place, result in enumerate(found)
        if isinstance(result, Resolution)
    }
    enqueued = enqueue_many(workspace_id, list(requests.values()), now=clock.now())
    outcomes: dict[int, Outcome] = dict(zip(requests, enqueued, strict=True))
    errors = {place: result for place, result in enumerate(found) if isinstance(result, DomainError)}
    return [outcomes[place] if place in outcomes else errors[place] for place in range(len(found))]


def literal(text: str) -> str:
    """Return Liquid that renders as `text`, whatever marks of Liquid that has."""
    return _MARK.sub(lambda mark: f"{{{{ '{mark[0]}' }}}}", text)


_MARK: Final = re.compile(r"\{[{%]")
