"""What providers report, by the webhooks of two of them and by anymail's own words."""

import base64
import json

import pytest
from anymail.signals import AnymailTrackingEvent, tracking
from django.test import Client

from campaigns.models import Decision, Message, Suppression
from config import clock
from contacts.crud import get_contact
from events.models import Event
from tests.campaigns.rows import a_message

SECRET = "provider:secret"


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.ANYMAIL = {"WEBHOOK_SECRET": SECRET}


@pytest.fixture
def message(jane):
    return a_message(
        jane, provider_id="<theirs@provider.test>", status=Message.Status.SENT, sent_at=clock.now()
    )


def report(kind, message=None, **more):
    metadata = {"message_id": str(message.id)} if message else {}
    event = AnymailTrackingEvent(event_type=kind, timestamp=clock.now(), metadata=metadata, **more)
    tracking.send(sender=object, event=event, esp_name="Test")


def post(provider, body, secret=SECRET):
    headers = {"HTTP_AUTHORIZATION": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}
    return Client().post(
        f"/api/webhooks/email/{provider}/tracking/",
        json.dumps(body),
        content_type="application/json",
        **headers,
    )


def count_events(name):
    return Event.objects.filter(name=name, source="system").count()


def test_a_bounce_suppresses_the_address_and_is_told_once(workspace, jane, message):
    for _ in range(2):
        report("bounced", message, mta_response="550 no such\x00 user", reject_reason="bounced")

    message.refresh_from_db()
    assert (message.status, message.error) == ("BOUNCED", "550 no such user")
    suppression = Suppression.objects.get()
    assert (suppression.address, suppression.reason) == ("jane@example.test", "bounce")
    assert suppression.message_id == message.id
    event = Event.objects.get(name="message.bounced")
    assert event.contact_id == jane.id
    assert event.properties == {
        "messageId": str(message.id),
        "channel": "email",
        "reason": "550 no such user",
    }
    assert Decision.objects.get().reason == "bounced"


def test_a_complaint_suppresses_and_unsubscribes(workspace, jane, message):
    for _ in range(2):
        report("complained", message)

    assert Suppression.objects.get().reason == "complaint"
    assert not get_contact(workspace.id, jane.id).subscribed
    message.refresh_from_db()
    assert message.status == "UNSUBSCRIBED"
    assert (count_events("message.complained"), count_events("contact.unsubscribed")) == (1, 1)


def test_unsubscribing_at_the_provider_is_unsubscribing(workspace, jane, message):
    report("unsubscribed", message)
    assert not get_contact(workspace.id, jane.id).subscribed
    assert not Suppression.objects.exists()


@pytest.mark.parametrize(
    ("reason", "status", "suppressed"),
    [("invalid", "BOUNCED", True), ("blocked", "FAILED", False), ("spam", "UNSUBSCRIBED", True)],
)
def test_what_was_not_taken_after_all(message, reason, status, suppressed):
    report("rejected", message, reject_reason=reason)
    message.refresh_from_db()
    assert message.status == status
    assert Suppression.objects.exists() is suppressed


def test_an_unknown_one_is_settled_by_its_delivery(message):
    Message.objects.update(status=Message.Status.UNKNOWN, claimed_at=clock.now(), provider_id="")
    report("delivered", message)

    message.refresh_from_db()
    assert message.status == "DELIVERED"
    assert count_events("message.sent") == 1


def test_delivery_takes_nothing_back(message):
    Message.objects.update(status=Message.Status.CLICKED)
    report("delivered", message)
    message.refresh_from_db()
    assert message.status == "CLICKED"


def test_others_messages_and_other_news_are_nothing(message):
    report("bounced")
    report("bounced", message_id="<another@provider.test>")
    report("opened", message)
    report("deferred", message)

    assert Message.objects.get().status == "SENT"
    assert not Event.objects.filter(name__startswith="message.").exists()


def test_two_providers_webhooks_say_so_by_metadata_or_their_own_id(message):
    bounce = {
        "RecordType": "Bounce",
        "ID": 1,
        "Type": "HardBounce",
        "MessageID": "theirs",
        "Email": "jane@example.test",
        "BouncedAt": "2026-01-01T00:00:00Z",
        "Description": "no mailbox",
        "Metadata": {"message_id": str(message.id)},
    }
    assert post("postmark", bounce).status_code == 200
    message.refresh_from_db()
    assert message.status == "BOUNCED"

    Message.objects.update(status=Message.Status.SENT)
    spam = {"event": "spam", "email": "jane@example.test", "ts_epoch": 1767225600000, "id": 1}
    assert post("brevo", {**spam, "message-id": "<theirs@provider.test>"}).status_code == 200
    message.refresh_from_db()
    assert message.status == "UNSUBSCRIBED"


@pytest.mark.django_db
def test_reports_need_the_webhook_secret(message, settings):
    assert post("postmark", {"RecordType": "Bounce"}, secret="provider:guess").status_code == 400
    settings.ANYMAIL = {}
    assert post("postmark", {"RecordType": "Bounce"}).status_code == 404
    assert Message.objects.get().status == "SENT"
