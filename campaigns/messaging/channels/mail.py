"""E-mails as bytes: addresses beyond ASCII as RFC 6532 has them, never as encoded words."""

from __future__ import annotations

import email
from email import policy
from email.utils import getaddresses
from functools import cached_property
from typing import Any
from uuid import uuid4

from django.core.mail import EmailMessage, EmailMultiAlternatives

_OF_ADDRESSES = ("From", "Sender", "Reply-To", "To", "Cc")


class Mail(EmailMultiAlternatives):
    """An e-mail whose addresses are written as they are."""

    @cached_property
    def international_addresses(self) -> list[str]:
        """The addresses of envelope and headers that ASCII cannot spell."""
        texts = [str(self.from_email), *self.recipients(), *self._address_headers().values()]
        if all(text.isascii() for text in texts):
            return []
        addresses = [address for _, address in getaddresses(texts) if not address.isascii()]
        return list(dict.fromkeys(addresses))

    def message(self, **policy: Any) -> Any:
        """Return the message with a random boundary: Python would search all parts for a boundary that is in none."""
        message = super().message(**policy)
        if message.is_multipart():
            # No encoded text has the two characters in front in a row (RFC 2045, 6.7).
            message.set_boundary(f"=_{uuid4().hex}")
        return message

    def source(self) -> bytes:
        """Return the e-mail as bytes for the server."""
        source: bytes = self.message().as_bytes(linesep="\r\n")
        if not self.international_addresses:
            return source
        # Django's message has encoded words within the addresses, which nobody may read as such (RFC 2047, 5).
        mail = email.message_from_bytes(source, policy=policy.SMTPUTF8)
        for name, value in self._address_headers().items():
            mail.replace_header(name, value)
        return mail.as_bytes()

    def _address_headers(self) -> dict[str, str]:
        recipients = {"To": ", ".join(map(str, self.to)), "Cc": ", ".join(map(str, self.cc))}
        own = {name: str(value) for name, value in self.extra_headers.items() if name in _OF_ADDRESSES}
        return {name: value for name, value in {**recipients, **own}.items() if value}


def source_of(mail: EmailMessage) -> bytes:
    """Return the bytes of an e-mail, one of ours or of Django."""
    if isinstance(mail, Mail):
        return mail.source()
    return mail.message().as_bytes(linesep="\r\n")  # type: ignore[call-arg]  # Django's own has it
