"""Sender and reply-to of an e-mail: of the campaign, the template, the channel or the settings.

The campaign says before the template, the template before the channel, the channel before the settings.
"""

from __future__ import annotations

from typing import Final

from campaigns.messaging.templates import WebhookRequest
from campaigns.models import Campaign, Template
from campaigns.models.messages import Channel
from config.values.emails import check_mailbox

SENDERS: Final = {"sender": "From", "reply_to": "Reply-To"}
"""The fields in which campaigns and templates say so, and the headers that they stand for."""


def sender_headers(campaign: Campaign | None, template: Template | WebhookRequest) -> dict[str, str]:
    """Return the headers of an e-mail of which its campaign or its template says something."""
    headers = {
        header: getattr(campaign, field, "") or getattr(template, field, "")
        for field, header in SENDERS.items()
    }
    return {header: text for header, text in headers.items() if text}


def sender_error(channel: str, text: object) -> str:
    """Return why no e-mail of a channel can be from a mailbox such as `Acme <news@acme.com>`, nor be answered to it;
    "": it can, or there is none."""
    if not text:
        return ""
    if channel != Channel.EMAIL:
        return "Only an e-mail has one."
    try:
        check_mailbox(str(text))
    except ValueError as error:
        return str(error)
    return ""
