"""Send e-mail by the backend that EMAIL_URL names: an SMTP server, a provider's API, or the local inbox."""

from __future__ import annotations

import smtplib
import threading
import time
from typing import Any, Final

import requests
from anymail.exceptions import (
    AnymailAPIError,
    AnymailError,
    AnymailInvalidAddress,
    AnymailRecipientsRefused,
    AnymailSerializationError,
    AnymailUnsupportedFeature,
)
from django.conf import settings as django_settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend

from campaigns.messaging.channels import Bounce, Bounced, MaybeSent, NotSent, inbox
from campaigns.messaging.channels.bounce_codes import diagnose
from campaigns.messaging.channels.mail import Mail
from campaigns.messaging.tracking_links import add_tracking
from campaigns.models import ChannelSettings, Message, SentEmail
from config.values.emails import canonical_email, read_mailbox

IDLE_SECONDS: Final = 5.0
"""Seconds of idleness after which a connection is opened anew: servers hang up on idle clients."""
_open = threading.local()


def send(message: Message, settings: ChannelSettings) -> str:
    """Send an e-mail; each thread keeps its connection for the next one."""
    mail = _composed(message, settings)
    _send(mail)
    _open.used_at = time.monotonic()
    return _provider_id(mail)


def store_in_inbox(message: Message, settings: ChannelSettings) -> tuple[str, SentEmail]:
    """Return what `send` would, and an unsaved row of the local inbox: saving it delivers the e-mail."""
    mail = _composed(message, settings)
    try:
        return _provider_id(mail), inbox.row_of(mail)
    except (ValueError, UnicodeError) as error:
        raise NotSent(f"not an e-mail: {error}", is_permanent=True) from error


def _composed(message: Message, settings: ChannelSettings) -> Mail:
    try:
        return compose(message, settings)
    except (ValueError, UnicodeError) as error:
        raise NotSent(f"not an e-mail: {error}", is_permanent=True) from error


def _send(mail: Mail) -> None:
    is_kept = getattr(_open, "connection", None) is not None
    connection = _connection()
    try:
        connection.send_messages([mail])
    except Exception as error:
        outcome = _outcome_of(error, connection)
        _hang_up()
        if is_kept and isinstance(outcome, _HungUp):
            # Nobody had outcome us that the line was dead.
            _send(mail)
        else:
            raise outcome from error


def compose(message: Message, settings: ChannelSettings) -> Mail:
    """Return the e-mail of a message. Its Message-ID is the same at every attempt.

    Raises ValueError for an invalid address.
    """
    headers = dict(message.headers)
    sender = read_mailbox(headers.pop("From", "") or settings.sender or django_settings.DEFAULT_FROM_EMAIL)
    reply_to = (
        headers.pop("Reply-To", "") or settings.options.get("replyTo") or django_settings.DEFAULT_REPLY_TO
    )
    mail = Mail(
        message.subject,
        message.text,
        # Of the envelope: what comes back goes there.
        str(read_mailbox(django_settings.BOUNCE_ADDRESS)) if django_settings.BOUNCE_ADDRESS else str(sender),
        [_recipient(message.address)],
        headers={
            "From": str(sender),
            "Message-ID": f"<{message.pk}@{sender.domain}>",
            **({"Reply-To": str(read_mailbox(str(reply_to)))} if reply_to else {}),
            **headers,
        },
    )
    if message.body:
        mail.attach_alternative(add_tracking(message, settings), "text/html")
    # By these a provider's later news is about a message of ours; others ignore them.
    mail.metadata = {"message_id": str(message.pk)}  # type: ignore[attr-defined]  # anymail's
    mail.headrace_message = message  # type: ignore[attr-defined]  # the local inbox's
    return mail


def _recipient(text: str) -> str:
    address = canonical_email(text)
    if address is None:
        raise ValueError(f'"{text}" is no e-mail address.')
    return address


class _HungUp(NotSent):
    """The connection broke before the text was sent."""


class _Conversation:
    """An SMTP connection that records when the text itself is sent: before that nothing has left, whatever breaks."""

    is_sending = False

    def data(self, msg: Any) -> Any:
        self.is_sending = True
        answer = super().data(msg)  # type: ignore[misc]  # smtplib's
        self.is_sending = False
        return answer


class _Plain(_Conversation, smtplib.SMTP):
    pass


class _Encrypted(_Conversation, smtplib.SMTP_SSL):
    pass


class SMTPBackend(EmailBackend):
    """Django's SMTP backend, which also tells whether a message may have left when the server fell silent.

    It speaks SMTPUTF8 (RFC 6531) for addresses beyond ASCII, as Django does not, and writes to addresses as they are:
    Django decodes encoded words in them, and drops quotes that they need.
    """

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _Encrypted if self.use_ssl else _Plain

    def _send(self, email_message: EmailMessage) -> bool:
        if not isinstance(email_message, Mail):
            return bool(super()._send(email_message))  # type: ignore[misc]  # the stubs leave it out
        options = self._international_options(email_message) if email_message.international_addresses else []
        envelope = read_mailbox(str(email_message.from_email)).address
        line: Any = self.connection
        line.sendmail(envelope, email_message.recipients(), email_message.source(), options)
        return True

    def _international_options(self, mail: Mail) -> list[str]:
        """Return the SMTP options for addresses beyond ASCII. Raises NotSent if the server has none."""
        line: Any = self.connection
        line.ehlo_or_helo_if_needed()
        if not line.has_extn("smtputf8"):
            beyond = ", ".join(mail.international_addresses)
            raise NotSent(f"the server takes ASCII addresses only (no SMTPUTF8): {beyond}", is_permanent=True)
        return ["SMTPUTF8", *(["BODY=8BITMIME"] if line.has_extn("8bitmime") else [])]


def _connection() -> Any:
    """Return this thread's open connection. Raises NotSent when the server cannot be reached."""
    open_connection = getattr(_open, "connection", None)
    if open_connection is not None and time.monotonic() - _open.used_at <= IDLE_SECONDS:
        return open_connection
    _hang_up()
    try:
        connection = get_connection()
        connection.open()
    except (OSError, smtplib.SMTPException, AnymailError) as error:
        raise NotSent(f"no connection: {error}", is_permanent=False) from error
    _open.connection, _open.used_at = connection, time.monotonic()
    return connection


def _hang_up() -> None:
    connection, _open.connection = getattr(_open, "connection", None), None
    if connection is not None:
        try:
            connection.close()
        except (OSError, smtplib.SMTPException):
            return


def _provider_id(mail: Mail) -> str:
    status = getattr(mail, "anymail_status", None)
    if status is not None:
        # Some number their e-mails; of several recipients it would be a set.
        return str(status.message_id) if isinstance(status.message_id, str | int) else ""
    return str(mail.extra_headers["Message-ID"]).strip("<>")


def _outcome_of(error: Exception, connection: Any) -> Exception:
    """Return NotSent, Bounced or MaybeSent for an error of SMTP or a provider."""
    match error:
        case smtplib.SMTPRecipientsRefused():
            ((code, reply),) = error.recipients.values()
            return _refused(code, reply, is_about_recipient=True)
        case smtplib.SMTPServerDisconnected() | OSError() if isinstance(connection, SMTPBackend):
            return _fell_silent(error, connection)
        case smtplib.SMTPResponseException():
            return _refused_before(error)
        case AnymailError():
            return _refused_by_provider(error)
        # It is put together before anything of it goes out.
        case ValueError():
            return NotSent(f"not an e-mail: {error}", is_permanent=True)
        case _:
            return error


def _fell_silent(error: Exception, connection: SMTPBackend) -> Exception:
    if isinstance(error, smtplib.SMTPResponseException):
        if isinstance(error, smtplib.SMTPDataError) and not 400 <= error.smtp_code < 600:
            return MaybeSent(f"the server's answer to the text is none: {error}")
        return _refused_before(error)
    if getattr(connection.connection, "is_sending", True):
        return MaybeSent(f"the server fell silent: {error}")
    return _HungUp(f"the server fell silent: {error}", is_permanent=False)


def _refused_before(error: smtplib.SMTPResponseException) -> NotSent:
    is_about_text = isinstance(error, smtplib.SMTPDataError)
    return _refused(error.smtp_code, error.smtp_error, is_about_text=is_about_text)


def _refused(
    code: int, reply: bytes | str, *, is_about_recipient: bool = False, is_about_text: bool = False
) -> NotSent:
    """Classify a server's refusal; of the text, it counts for the one recipient if its wording says so."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else str(reply)
    reply = f"{code} {text}"
    bounce = diagnose(reply) if is_about_recipient or is_about_text else None
    if code < 500:
        return NotSent(
            reply, is_permanent=False, bounce=Bounce.SOFT if bounce is Bounce.SOFT else Bounce.REFUSED
        )
    if is_about_recipient or bounce in (Bounce.HARD, Bounce.SOFT):
        return Bounced(reply, bounce or Bounce.REFUSED)
    return NotSent(reply, is_permanent=True)


def _refused_by_provider(error: AnymailError) -> Exception:
    match error:
        case AnymailRecipientsRefused():
            return Bounced(str(error), diagnose(str(error)) or Bounce.REFUSED)
        case AnymailInvalidAddress() | AnymailSerializationError() | AnymailUnsupportedFeature():
            return NotSent(str(error), is_permanent=True)
        case requests.ConnectTimeout():
            return NotSent(str(error), is_permanent=False)
        case requests.Timeout() | requests.ConnectionError():
            return MaybeSent(str(error))
        case AnymailAPIError():
            code = error.status_code or 0
            # What is wrong with the account or the moment will pass; what is wrong with the message will not.
            is_permanent = 400 <= code < 500 and code not in (401, 402, 403, 408, 429)
            return NotSent(str(error), is_permanent=is_permanent)
        case _:
            return NotSent(str(error), is_permanent=False)
