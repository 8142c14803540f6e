"""Classify bounces by each provider's own event types, besides anymail's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from uuid import UUID

from campaigns.messaging.channels import Bounce
from campaigns.messaging.channels.bounce_codes import diagnose
from config.ids import parse_uuid

HARD, SOFT, REFUSED = Bounce.HARD, Bounce.SOFT, Bounce.REFUSED
Raw = Mapping[str, Any]


def classify(esp_name: str, raw: object, words: str) -> Bounce | None:
    """Classify a provider's bounce event; None: neither its type nor its wording says.

    The wording wins: a refusal for policy is no missing mailbox, and a full mailbox no dead one, whatever the type.
    """
    by_type = _by_type(esp_name, raw)
    by_words = diagnose(_resend_words(raw) if esp_name == "Resend" and by_type is not None else words)
    if by_words is REFUSED or by_type is None:
        return by_words or by_type
    return by_words if by_type is HARD and by_words is SOFT else by_type


def message_id_of(esp_name: str, raw: object, provider_id: str) -> UUID | None:
    """Return the message id in the Message-ID header of an e-mail sent by SMTP; None: it is not reported."""
    reference = provider_id
    if esp_name == "Amazon SES" and isinstance(raw, Mapping):
        # Its own id stands for that header, and ours is among the headers.
        headers = (raw.get("mail") or {}).get("headers") or ()
        reference = next(
            (str(header.get("value")) for header in headers if _word(header.get("name")) == "message-id"), ""
        )
    local, at, _ = reference.strip().strip("<>").partition("@")
    return parse_uuid(local) if at else None


def _by_type(esp_name: str, raw: object) -> Bounce | None:
    read = _READERS.get(esp_name)
    if read is None or not isinstance(raw, Mapping):
        return None
    try:
        return read(raw)
    except (AttributeError, KeyError, TypeError):
        # Of another shape than the provider's documentation has it.
        return None


def _word(value: object) -> str:
    return str(value or "").strip().lower()


# https://postmarkapp.com/developer/api/bounce-api#bounce-types. A SpamNotification is a filter's, not a reader's.
_POSTMARK: Final = {
    "hardbounce": HARD,
    "bademailaddress": HARD,
    "softbounce": SOFT,
    "blocked": REFUSED,
    "spamnotification": REFUSED,
    "virusnotification": REFUSED,
    "dmarcpolicy": REFUSED,
    "manuallydeactivated": REFUSED,
    "templaterenderingfailed": REFUSED,
    "smtpapierror": REFUSED,
}


def _postmark(raw: Raw) -> Bounce | None:
    return _POSTMARK.get(_word(raw.get("Type") or raw.get("SuppressionReason")))


# https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event (type, reason, bounce_classification)
_SENDGRID: Final = {
    "invalid address": HARD,
    "mailbox unavailable": SOFT,
    "content": REFUSED,
    "reputation": REFUSED,
    "frequency or volume too high": REFUSED,
    "technical failure": SOFT,
    "technical": SOFT,
}
_SENDGRID_DROPPED: Final = {"bounced address": HARD, "bounce": HARD, "invalid": HARD}


def _sendgrid(raw: Raw) -> Bounce | None:
    if raw.get("event") == "dropped":
        return _SENDGRID_DROPPED.get(_word(raw.get("type") or raw.get("reason")), REFUSED)
    if (known := _SENDGRID.get(_word(raw.get("bounce_classification")))) is not None:
        return known
    return {"bounce": HARD, "blocked": SOFT, "expired": SOFT}.get(_word(raw.get("type")))


# https://developers.brevo.com/docs/transactional-webhooks
_BREVO: Final = {
    "hard_bounce": HARD,
    "invalid_email": HARD,
    "soft_bounce": SOFT,
    "blocked": REFUSED,
    "error": REFUSED,
}


def _brevo(raw: Raw) -> Bounce | None:
    return _BREVO.get(_word(raw.get("event")))


# https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure
_MAILGUN: Final = {"suppress-bounce": HARD, "bounce": HARD, "old": SOFT, "espblock": REFUSED}


def _mailgun(raw: Raw) -> Bounce | None:
    event = raw.get("event-data")
    if not isinstance(event, Mapping):
        # Of before 2018: fields of a form, and codes of theirs. 605: bounced before.
        return {"605": HARD}.get(str(raw.get("code")))
    status = event.get("delivery-status") or {}
    if event.get("severity") == "temporary":
        return SOFT
    if _word(status.get("bounce-type")) == "soft":
        return SOFT
    reason = _word(event.get("reason"))
    if reason.startswith("suppress-") and reason != "suppress-bounce":
        return REFUSED
    return _MAILGUN.get(reason) or (HARD if _word(status.get("bounce-type")) == "hard" else None)


# https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types
_SES: Final = {
    "permanent": HARD,
    "transient": SOFT,
    "undetermined": SOFT,
    "contentrejected": REFUSED,
    "attachmentrejected": REFUSED,
    "messagetoolarge": REFUSED,
    "customtimeoutexceeded": REFUSED,
}


def _ses_types(bounce: Raw, kind: str, subkind: str) -> Bounce | None:
    return _SES.get(_word(bounce.get(subkind))) or _SES.get(_word(bounce.get(kind)))


def _ses(raw: Raw) -> Bounce | None:
    if (raw.get("eventType") or raw.get("notificationType")) != "Bounce":
        return REFUSED
    return _ses_types(raw["bounce"], "bounceType", "bounceSubType")


# https://support.sparkpost.com/docs/deliverability/bounce-classification-codes
_SPARKPOST: Final = {
    **dict.fromkeys(("10", "30"), HARD),
    **dict.fromkeys(("1", "20", "21", "22", "24", "40", "70"), SOFT),
    **dict.fromkeys(("23", "25", "50", "51", "52", "53", "54"), REFUSED),
}


def _sparkpost(raw: Raw) -> Bounce | None:
    # {"msys": {"<class>_event": {…}}}
    for event in (raw.get("msys") or {}).values():
        return _SPARKPOST.get(str(event.get("bounce_class")))
    return None


# https://dev.mailjet.com/email/guides/webhooks/#possible-values-for-errors
_MAILJET: Final = {
    **dict.fromkeys(("user unknown", "mailbox inactive", "invalid domain", "no mail host", "typofix"), HARD),
    **dict.fromkeys(("quota exceeded",), SOFT),
    **dict.fromkeys(("relay/access denied", "sender blocked", "content blocked", "policy issue"), REFUSED),
    **dict.fromkeys(
        ("greylisted", "preblocked", "duplicate in campaign", "blacklisted", "system issue"), REFUSED
    ),
    **dict.fromkeys(("protocol issue", "connection issue", "mailjet", "message too big"), REFUSED),
}


def _mailjet(raw: Raw) -> Bounce | None:
    known = _MAILJET.get(_word(raw.get("error")))
    if known is HARD and raw.get("hard_bounce") is False:
        return SOFT
    if known is None and "hard_bounce" in raw:
        return HARD if raw["hard_bounce"] else SOFT
    return known


# https://resend.com/docs/dashboard/emails/email-bounces; types as those of SES, in older events a sentence alone.
_RESEND: Final = (
    ("suppressed sending", HARD),
    ("suppression list", HARD),
    ("hard bounce message", HARD),
    ("inbox was full", SOFT),
    ("general bounce message", SOFT),
    ("too large", REFUSED),
    ("rejected because", REFUSED),
)


def _resend_words(raw: object) -> str:
    """Return the mail server's reply only: Resend's own sentences name reputation and rates in any case."""
    try:
        codes = raw["data"]["bounce"].get("diagnosticCode") or ()  # type: ignore[index]  # whatever its shape
    except (AttributeError, KeyError, TypeError):
        return ""
    return " ".join(map(str, codes)) if isinstance(codes, list) else str(codes)


def _resend(raw: Raw) -> Bounce | None:
    bounce = raw["data"]["bounce"]
    if (known := _ses_types(bounce, "type", "subType")) is not None:
        return known
    sentence = _word(bounce.get("message"))
    return next((kind for words, kind in _RESEND if words in sentence), None)


# https://developers.mailersend.com/api/v1/webhooks.html
def _mailersend(raw: Raw) -> Bounce | None:
    return {"soft_bounced": SOFT, "hard_bounced": HARD}.get(_word(raw["data"].get("type")))


# https://mailchimp.com/developer/transactional/docs/webhooks/ (event, bounce_description, reject.reason)
_MANDRILL: Final = {
    **dict.fromkeys(("hard_bounce", "bad_mailbox", "invalid_domain", "hard-bounce", "invalid"), HARD),
    **dict.fromkeys(("soft_bounce", "mailbox_full", "soft-bounce"), SOFT),
    **dict.fromkeys(("spam", "unsub", "custom", "invalid-sender", "rule", "unsigned", "reject"), REFUSED),
}


def _mandrill(raw: Raw) -> Bounce | None:
    if raw.get("event") == "reject" or "reject" in raw:
        return _MANDRILL.get(_word((raw.get("reject") or {}).get("reason")), REFUSED)
    description = _MANDRILL.get(_word((raw.get("msg") or {}).get("bounce_description")))
    return description if description is SOFT else _MANDRILL.get(_word(raw.get("event")))


# https://docs.mailtrap.io/email-api-smtp/advanced/webhooks
def _mailtrap(raw: Raw) -> Bounce | None:
    return {"bounce": HARD, "soft bounce": SOFT, "reject": REFUSED}.get(_word(raw.get("event")))


# https://godocs.unisender.ru/web-api-ref#callback-format (delivery_status)
_UNISENDER_GO: Final = {
    **dict.fromkeys(("err_user_unknown", "err_user_inactive", "err_domain_inactive"), HARD),
    **dict.fromkeys(("err_mailbox_full", "err_unreachable", "err_will_retry", "err_delivery_failed"), SOFT),
    **dict.fromkeys(("err_spam_rejected", "err_spam_skipped", "err_blacklisted", "err_too_large"), REFUSED),
    **dict.fromkeys(("err_spam_removed", "err_spam_folder", "err_skip_letter", "err_lost"), REFUSED),
    **dict.fromkeys(("err_dest_misconfigured", "err_destination_misconfigured", "err_unsubscribed"), REFUSED),
}


def _unisender_go(raw: Raw) -> Bounce | None:
    event = raw.get("event_data") or raw
    bounce = _UNISENDER_GO.get(_word((event.get("delivery_info") or {}).get("delivery_status")))
    return bounce or {"hard_bounced": HARD, "soft_bounced": SOFT}.get(_word(event.get("status")))


# By the names that anymail gives them.
_READERS: Final[Mapping[str, Callable[[Raw], Bounce | None]]] = {
    "Amazon SES": _ses,
    "Brevo": _brevo,
    "SendinBlue": _brevo,
    "MailerSend": _mailersend,
    "Mailgun": _mailgun,
    "Mailjet": _mailjet,
    "Mailtrap": _mailtrap,
    "Mandrill": _mandrill,
    "Postmark": _postmark,
    "Resend": _resend,
    "SendGrid": _sendgrid,
    "SparkPost": _sparkpost,
    "Unisender Go": _unisender_go,
}
