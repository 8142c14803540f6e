"""Bounces as each provider tells of them, and bodies that none would send."""

import base64
import hashlib
import hmac
import json
import threading

import pytest
from anymail.signals import AnymailTrackingEvent, tracking
from django.core.checks import run_checks
from django.test import Client
from requests import ConnectTimeout

from campaigns.messaging import suppressions
from campaigns.messaging.channels import Bounce
from campaigns.messaging.channels.http import Answer
from campaigns.messaging.provider_reports import Report, record_report
from campaigns.models import Message, Suppression
from campaigns.public import providers
from config import clock
from contacts.crud import get_contact
from tests.campaigns.messages import MailServer, deliver_ready
from tests.campaigns.messages import a_message as a_reserved_message
from tests.campaigns.rows import a_message
from tests.contacts.factories import a_contact
from tests.segments.test_races import at_once
from tests.workspaces.factories import WorkspaceFactory

SECRET = "provider:secret"
HARD, SOFT, REFUSED = Bounce.HARD, Bounce.SOFT, Bounce.REFUSED
UNKNOWN = "550 5.1.1 user unknown"
POLICY = "550 5.7.1 blocked by policy"
FULL = "552 5.2.2 mailbox full"


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ANYMAIL = {"WEBHOOK_SECRET": SECRET, "MAILGUN_WEBHOOK_SIGNING_KEY": "key"}
    settings.ANYMAIL["MAILERSEND_SIGNING_SECRET"] = "key"


@pytest.fixture
def message(jane):
    return a_message(jane, provider_id="theirs@x.test", status=Message.Status.SENT, sent_at=clock.now())


def post(provider, body, **headers):
    authorization = f"Basic {base64.b64encode(SECRET.encode()).decode()}"
    raw = body if isinstance(body, str | bytes) else json.dumps(body)
    return Client().post(
        f"/api/webhooks/email/{provider}/tracking/",
        raw,
        content_type="application/json",
        HTTP_AUTHORIZATION=authorization,
        **headers,
    )


def postmark(kind, details="", record="Bounce"):
    return "postmark", {
        "RecordType": record,
        "Type": kind,
        "MessageID": "theirs",
        "Email": "jane@example.test",
        "BouncedAt": "2026-01-01T00:00:00Z",
        "Description": "…",
        "Details": details,
        "Metadata": {"message_id": "@@"},
    }


def sendgrid(kind, reason, event="bounce", **more):
    body = {"event": event, "type": kind, "reason": reason, "email": "jane@example.test", "timestamp": 1}
    return "sendgrid", [{**body, "message_id": "@@", **more}]


def brevo(event, reason=""):
    return "brevo", {
        "event": event,
        "reason": reason,
        "ts_epoch": 1,
        "X-Mailin-custom": '{"message_id": "@@"}',
    }


def mailgun(severity, reason, words="", **status):
    signed = hmac.new(b"key", b"1t", hashlib.sha256).hexdigest()
    event = {
        "event": "failed",
        "severity": severity,
        "reason": reason,
        "timestamp": 1.0,
        "delivery-status": {"message": words, "code": 550, **status},
        "user-variables": {"message_id": "@@"},
    }
    return "mailgun", {
        "signature": {"token": "t", "timestamp": "1", "signature": signed},
        "event-data": event,
    }


def ses(kind, subkind, words=None):
    bounced = [{"emailAddress": "jane@example.test", **({"diagnosticCode": words} if words else {})}]
    notification = {
        "eventType": "Bounce",
        "bounce": {"bounceType": kind, "bounceSubType": subkind, "bouncedRecipients": bounced},
        "mail": {"messageId": "theirs", "headers": [{"name": "X-Metadata", "value": '{"message_id": "@@"}'}]},
    }
    return "amazon_ses", {"Type": "Notification", "MessageId": "1", "Message": json.dumps(notification)}


def sparkpost(class_, words="", type_="bounce"):
    event = {"type": type_, "bounce_class": class_, "raw_reason": words, "timestamp": "1"}
    return "sparkpost", [{"msys": {"message_event": {**event, "rcpt_meta": {"message_id": "@@"}}}}]


def mailjet(error, *, hard=None, event="bounce"):
    flags = {} if hard is None else {"hard_bounce": hard}
    return "mailjet", [
        {"event": event, "time": 1, "error": error, "Payload": '{"message_id": "@@"}', **flags}
    ]


def resend(words, **more):
    headers = [{"name": "X-Metadata", "value": '{"message_id": "@@"}'}]
    data = {"email_id": "theirs", "headers": headers, "bounce": {"message": words, **more}}
    return "resend", {"type": "email.bounced", "created_at": "2026-01-01T00:00:00Z", "data": data}


def mailersend(kind):
    data = {"type": kind, "id": "1", "created_at": "2026-01-01T00:00:00Z"}
    return "mailersend", {
        "type": f"activity.{kind}",
        "data": {**data, "email": {"message": {"id": "theirs@x.test"}}},
    }


def mailtrap(event, words=""):
    return "mailtrap", {
        "events": [
            {
                "event": event,
                "timestamp": 1,
                "message_id": "theirs",
                "response": words,
                "custom_variables": {"message_id": "@@"},
            }
        ]
    }


def send_news(message, news):
    provider, body = news
    raw = json.dumps(body).replace("@@", str(message.pk))
    headers = {"HTTP_X_AMZ_SNS_MESSAGE_TYPE": "Notification", "HTTP_X_AMZ_SNS_MESSAGE_ID": "1"}
    if provider == "mailersend":
        headers = {"HTTP_SIGNATURE": hmac.new(b"key", raw.encode(), hashlib.sha256).hexdigest()}
    return post(provider, raw, **headers)


NEWS = [
    (postmark("HardBounce"), HARD),
    (postmark("BadEmailAddress"), HARD),
    (postmark("SoftBounce"), SOFT),
    (postmark("HardBounce", FULL), SOFT),
    (postmark("HardBounce", POLICY), REFUSED),
    (postmark("Blocked"), None),
    (postmark("DMARCPolicy"), None),
    (postmark("SpamNotification"), REFUSED),
    (postmark("VirusNotification"), REFUSED),
    (sendgrid("bounce", UNKNOWN), HARD),
    (sendgrid("bounce", FULL), SOFT),
    (sendgrid("blocked", "451 mailbox not available"), SOFT),
    (sendgrid("blocked", POLICY), REFUSED),
    (sendgrid("blocked", "550 spam"), REFUSED),
    (sendgrid("bounce", "550 rejected", bounce_classification="Reputation"), REFUSED),
    (sendgrid("bounce", "550 rejected", bounce_classification="Invalid Address"), HARD),
    (sendgrid("", "Bounced Address", event="dropped"), HARD),
    (sendgrid("", "Spam Content", event="dropped"), None),
    (brevo("hard_bounce", UNKNOWN), HARD),
    (brevo("hard_bounce"), HARD),
    (brevo("soft_bounce"), SOFT),
    (brevo("soft_bounce", POLICY), REFUSED),
    (brevo("invalid_email"), HARD),
    (brevo("blocked"), None),
    (mailgun("permanent", "bounce", UNKNOWN), HARD),
    (mailgun("permanent", "suppress-bounce", "Not delivering to previously bounced address"), HARD),
    (mailgun("permanent", "bounce", FULL), SOFT),
    (mailgun("permanent", "old", "Too old"), SOFT),
    (mailgun("permanent", "generic", POLICY), REFUSED),
    (mailgun("permanent", "bounce", "not now", **{"bounce-type": "soft"}), SOFT),
    (ses("Permanent", "General", f"smtp; {UNKNOWN}"), HARD),
    (ses("Permanent", "General"), HARD),
    (ses("Permanent", "Suppressed"), HARD),
    (ses("Permanent", "General", f"smtp; {POLICY}"), REFUSED),
    (ses("Transient", "General"), SOFT),
    (ses("Transient", "MailboxFull"), SOFT),
    (ses("Transient", "ContentRejected"), REFUSED),
    (ses("Undetermined", "Undetermined"), SOFT),
    (sparkpost("10", UNKNOWN), HARD),
    (sparkpost("30"), HARD),
    (sparkpost("22"), SOFT),
    (sparkpost("20"), SOFT),
    (sparkpost("51", "550 blocked"), REFUSED),
    (sparkpost("25", type_="policy_rejection"), None),
    (sparkpost("52", type_="policy_rejection"), None),
    (mailjet("user unknown", hard=True), HARD),
    (mailjet("quota exceeded", hard=False), SOFT),
    (mailjet("content blocked", hard=False), REFUSED),
    (mailjet("", hard=False), SOFT),
    (mailjet("preblocked", event="blocked"), None),
    (resend("The recipient's email provider sent a hard bounce message, …"), HARD),
    (
        resend(
            "The recipient's email provider sent a bounce message because the recipient's inbox was full."
        ),
        SOFT,
    ),
    (resend("The recipient's email provider sent a general bounce message."), SOFT),
    (resend("…", type="Permanent", subType="General"), HARD),
    (
        resend("… a hard bounce message … impact on your reputation", type="Permanent", subType="General"),
        HARD,
    ),
    (
        resend("… suppressed sending … not count toward your bounce rate", type="Permanent", subType="…"),
        HARD,
    ),
    (
        resend("…", type="Permanent", subType="General", diagnosticCode=["smtp; 550 5.7.1 blocked"]),
        REFUSED,
    ),
    (resend("…", type="Transient", subType="MailboxFull"), SOFT),
    (resend("…", type="Transient", subType="ContentRejected"), REFUSED),
    (mailersend("hard_bounced"), HARD),
    (mailersend("soft_bounced"), SOFT),
    (mailtrap("bounce", UNKNOWN), HARD),
    (mailtrap("bounce", FULL), SOFT),
]


@pytest.mark.parametrize(("news", "bounce"), NEWS)
def test_provider_events_are_classified(workspace, jane, message, settings, news, bounce):
    """None: it is no bounce, but a message that the provider itself did not take."""
    settings.SOFT_BOUNCE_LIMIT = 2

    assert send_news(message, news).status_code == 200

    message.refresh_from_db()
    assert message.status == (Message.Status.FAILED if bounce is None else Message.Status.BOUNCED)
    assert Suppression.objects.exists() is (bounce is HARD)
    assert (message.soft_bounced_at is not None) is (bounce is SOFT)
    assert get_contact(workspace.id, jane.id).consent("email") is None


@pytest.mark.parametrize("news", [mailgun("temporary", "generic", FULL), postmark("Transient")])
def test_what_is_tried_again_by_the_provider_is_no_bounce(message, news):
    assert send_news(message, news).status_code == 200
    message.refresh_from_db()
    assert message.status == Message.Status.SENT


def test_mandrill_and_others_that_are_signed_otherwise(message):
    for raw, bounce in (
        ({"event": "soft_bounce", "msg": {"bounce_description": "mailbox_full"}}, SOFT),
        ({"event": "hard_bounce", "msg": {"bounce_description": "bad_mailbox"}}, HARD),
    ):
        Message.objects.update(status=Message.Status.SENT)
        event = AnymailTrackingEvent(
            event_type="bounced", metadata={"message_id": str(message.pk)}, esp_event=raw
        )
        tracking.send(sender=object, event=event, esp_name="Mandrill")
        assert Suppression.objects.exists() is (bounce is HARD)


# The threshold


def bounce_softly(contact, **more):
    message = a_message(contact, status=Message.Status.SENT, **more)
    record_report(Report("bounced", clock.now(), message.pk, words=FULL, bounce=SOFT))
    return message


def test_an_address_is_suppressed_once_it_took_nothing_too_often(jane, time, settings):
    settings.SOFT_BOUNCE_LIMIT, settings.SOFT_BOUNCE_DAYS = 3, 10
    for days in (0, 6, 6):
        time.go(days=days)
        bounce_softly(jane, created_at=clock.now())
        assert not Suppression.objects.exists()
    time.go(days=1)
    last = bounce_softly(jane, created_at=clock.now())
    suppression = Suppression.objects.get()
    assert (suppression.reason, suppression.message_id) == ("bounce", last.pk)


def test_after_a_suppression_was_lifted_the_count_begins_anew(jane, settings):
    settings.SOFT_BOUNCE_LIMIT = 2
    for _ in range(2):
        bounce_softly(jane)
    Suppression.objects.get().delete()
    bounce_softly(jane)
    assert not Suppression.objects.exists()
    bounce_softly(jane)
    assert Suppression.objects.exists()


def test_what_arrived_meanwhile_ends_the_count(jane, time, settings):
    settings.SOFT_BOUNCE_LIMIT = 2
    bounce_softly(jane, created_at=clock.now())
    time.go(days=1)
    a_message(jane, status=Message.Status.DELIVERED, sent_at=clock.now())
    time.go(days=1)
    bounce_softly(jane, created_at=clock.now())
    assert not Suppression.objects.exists()


def test_a_soft_bounce_that_turns_out_to_be_hard_suppresses(jane):
    message = bounce_softly(jane)
    for _ in range(2):
        record_report(Report("bounced", clock.now(), message.pk, words=UNKNOWN, bounce=HARD))
    assert Suppression.objects.get().message_id == message.pk


def test_others_bounces_do_not_count(workspace, jane, settings):
    settings.SOFT_BOUNCE_LIMIT = 2
    bounce_softly(jane)
    bounce_softly(a_contact(workspace, "john@example.test"), address="john@example.test")
    bounce_softly(jane, address="other@example.test")
    assert not Suppression.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_concurrent_soft_bounces_reach_the_limit(settings, monkeypatch):
    settings.SOFT_BOUNCE_LIMIT = 2
    jane = a_contact(WorkspaceFactory(), "jane@example.test")
    messages = [a_message(jane, status=Message.Status.SENT) for _ in range(2)]
    both = threading.Barrier(2, timeout=10)
    real = suppressions._is_too_often

    def together(message, at):
        both.wait()
        return real(message, at)

    monkeypatch.setattr(suppressions, "_is_too_often", together)

    at_once(
        *(
            lambda message=message: record_report(
                Report("bounced", clock.now(), message.pk, words=FULL, bounce=SOFT)
            )
            for message in messages
        )
    )

    assert Suppression.objects.count() == 1


# SMTP


@pytest.fixture
def server(settings):
    with MailServer() as found:
        settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", found.port
        yield found


@pytest.mark.parametrize(
    ("stage", "answer", "status", "suppressed"),
    [
        ("to_recipient", "550 No such user here", "BOUNCED", True),
        ("to_recipient", "550 Requested action not taken: mailbox unavailable", "BOUNCED", True),
        ("to_recipient", "553 mailbox name not allowed", "BOUNCED", True),
        ("to_recipient", "550 rejected by policy", "BOUNCED", False),
        ("to_recipient", "552 5.2.2 mailbox full", "BOUNCED", False),
        ("to_recipient", "554 blocked by a blocklist", "BOUNCED", False),
        ("to_text", "550 5.1.1 user unknown", "BOUNCED", True),
        ("to_text", "552 5.2.2 over quota", "BOUNCED", False),
        ("to_text", "554 5.7.1 spam", "FAILED", False),
        ("to_text", "550 mailbox unavailable, blocked for spam", "FAILED", False),
        ("to_recipient", "450 4.2.2 mailbox full", "QUEUED", False),
    ],
)
def test_smtp_replies_are_classified(workspace, jane, server, stage, answer, status, suppressed):
    setattr(server.mailbox, stage, answer)
    message = a_reserved_message(jane)
    deliver_ready(workspace.id, "email")
    message.refresh_from_db()
    assert message.status == status
    assert Suppression.objects.exists() is suppressed


def test_a_mailbox_that_stays_full_is_a_soft_bounce_in_the_end(workspace, jane, server, time, settings):
    settings.SOFT_BOUNCE_LIMIT = 1
    server.mailbox.to_recipient = "452 4.2.2 mailbox full"
    message = a_reserved_message(jane)
    for _ in range(8):
        deliver_ready(workspace.id, "email")
        time.go(days=2)
    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert Suppression.objects.exists()


# Malformed calls

BODIES = [
    "",
    "{",
    "null",
    "1",
    '"x"',
    "[]",
    "{}",
    "[1]",
    "[{}]",
    '{"event": 1}',
    '{"msys": 1}',
    "\ud800",
    "[" * 900,
]
PROVIDERS = (
    *("amazon_ses", "brevo", "mailersend", "mailgun", "mailjet", "mailtrap", "postal", "postmark", "resend"),
    *("sendgrid", "sendinblue", "sparkpost", "unisender_go"),
)


@pytest.mark.django_db
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("body", BODIES)
def test_a_malformed_call_is_the_caller_s_fault(provider, body):
    answer = post(provider, body.encode(errors="surrogatepass"))
    assert answer.status_code in (200, 400)


@pytest.mark.parametrize(
    "more",
    [
        {"Metadata": {"message_id": 5}, "MessageID": "a\x00b"},
        {"Metadata": [1], "MessageID": {"a": 1}},
        {"BouncedAt": "2026-01-01T00:00:00"},
        {"BouncedAt": "0001-01-01T00:00:00Z"},
        {"BouncedAt": "9999-12-31T23:59:59Z"},
        {"Details": {"a": ["\x00"]}, "Type": 7},
        {"Description": "\ud800", "Details": "\ud800"},
    ],
)
def test_whatever_a_field_has_is_no_fault_of_ours(message, more):
    _, body = postmark("HardBounce")
    body["Metadata"]["message_id"] = str(message.pk)
    assert post("postmark", {**body, **more}).status_code in (200, 400)


def test_our_own_errors_are_raised(message, monkeypatch):
    def fail(report):
        raise ValueError("ours")

    monkeypatch.setattr("campaigns.receivers.record_report", fail)
    with pytest.raises(ValueError, match="ours"):
        send_news(message, postmark("HardBounce"))


@pytest.mark.django_db
def test_a_provider_whose_key_is_not_set_says_so(settings):
    settings.ANYMAIL = {"WEBHOOK_SECRET": SECRET}
    answer = post("mailgun", {})
    assert (answer.status_code, answer.json()) == (400, {"error": "This provider is not configured"})


# Amazon SES


def confirm(arn="arn:aws:sns:eu-west-1:123456789012:bounces", **more):
    body = {
        "Type": "SubscriptionConfirmation",
        "MessageId": "1",
        "TopicArn": arn,
        "Token": "to&ken",
        "SubscribeURL": "https://attacker.test/",
        **more,
    }
    headers = {"HTTP_X_AMZ_SNS_MESSAGE_TYPE": body["Type"], "HTTP_X_AMZ_SNS_MESSAGE_ID": "1"}
    return post("amazon_ses", body, **headers)


def test_a_subscription_of_amazon_s_is_confirmed_at_amazon(db, monkeypatch):
    calls = []

    def call(method, url, body, headers):
        calls.append((method, url))
        return Answer(200, "<ok/>", {})

    monkeypatch.setattr(providers.http, "call", call)

    assert confirm().status_code == 200
    ((method, url),) = calls
    assert method == "GET"
    assert url.startswith(
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn%3Aaws"
    )
    assert "Token=to%26ken" in url


@pytest.mark.parametrize(
    "arn", ["", "x", "arn:aws:sns:evil.test/#:1:x", "arn:aws:sns:eu@evil:1:x", "arn:aws:sqs:eu-west-1:1:x", 7]
)
def test_no_other_address_is_called(db, monkeypatch, arn):
    monkeypatch.setattr(providers.http, "call", lambda *_: pytest.fail("called"))
    assert confirm(arn).status_code == 400


@pytest.mark.parametrize("outcome", [Answer(403, "no", {}), ConnectTimeout("away")])
def test_a_confirmation_that_fails_is_tried_again_by_amazon(db, monkeypatch, outcome):
    def call(*_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(providers.http, "call", call)
    assert confirm().status_code == 503


def test_amazon_asks_for_a_name_and_password_first(db):
    answer = Client().post("/api/webhooks/email/amazon_ses/tracking/", "{}", content_type="application/json")
    assert answer.status_code == 401


def test_an_e_mail_that_left_by_smtp_is_known_by_its_message_id(message):
    _, body = ses("Permanent", "General")
    notification = json.loads(body["Message"])
    notification["mail"]["headers"] = [{"name": "Message-ID", "value": f"<{message.pk}@ours.test>"}]
    body["Message"] = json.dumps(notification)
    assert send_news(message, ("amazon_ses", body)).status_code == 200
    assert Suppression.objects.get().message_id == message.pk


@pytest.mark.parametrize(
    ("backend", "error"),
    [
        ("anymail.backends.amazon_ses.EmailBackend", "boto3"),
        ("anymail.backends.nobody.EmailBackend", "nobody"),
        ("anymail.backends.postmark.EmailBackend", None),
        ("campaigns.messaging.channels.inbox.InboxBackend", None),
    ],
)
def test_a_way_by_which_nothing_can_leave_is_refused(settings, backend, error):
    settings.EMAIL_BACKEND = backend
    found = [check for check in run_checks() if check.id == "headrace.E020"]
    assert bool(found) is (error is not None)
    if error:
        assert error in found[0].msg
