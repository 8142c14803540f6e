"""Headers of an e-mail. Sender and reply-to: of the campaign, the template, the channel or the settings.

The campaign says before the template, the template before the channel, the channel before the settings.
"""

from __future__ import annotations

import re
from typing import Final

from campaigns.messaging.rendering import WebhookRequest
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


def header_error(name: str, value: str) -> str:
    """Return why no e-mail can have a header of the sender's own, such as `X-Order: 5`; "": it can."""
    if _HEADER_NAME.fullmatch(name) is None:
        return "Its name may have letters, digits and hyphens only."
    if name.lower() in _OF_THE_MAIL or name.lower().startswith(_PREFIXES_OF_THE_MAIL):
        return "It is set by the e-mail itself."
    if not value.isprintable() or len(value) > _LONGEST_VALUE:
        return f"It must be a line of at most {_LONGEST_VALUE} printable characters."
    return ""


_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,76}")
_LONGEST_VALUE: Final = 998
# What an e-mail is composed with, and what mail servers and providers write or obey.
_OF_THE_MAIL: Final = frozenset(
    [
        "from",
        "sender",
        "reply-to",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "message-id",
        "feedback-id",
        "errors-to",
        "x-smtpapi",
    ]
)
_PREFIXES_OF_THE_MAIL: Final = (
    *("mime-", "content-", "resent-", "received", "return-", "delivered-", "disposition-", "list-"),
    *("dkim-", "arc-", "authentication-", "x-headrace-", "x-ses-", "x-mailgun-", "x-pm-", "x-mj-", "x-sg-"),
)
