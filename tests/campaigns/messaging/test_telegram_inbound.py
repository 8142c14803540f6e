"""What people write to the bot; Telegram's own side is a fake."""

import re

import pytest
from django.test import Client

from campaigns.errors import NoBot, RegistrationRefused
from campaigns.messaging.telegram_inbound import register_webhook, start_payload, webhook_secret
from campaigns.models import ChannelSettings
from config import clock
from contacts.crud import get_contact
from contacts.erasure.erasures import erase_person
from contacts.models import Contact
from events.models import Event
from events.processing.passes import apply_effects
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory, a_key

TOKEN = "123:abc"
CHAT = {"id": 4711, "type": "private"}
SENDER = {"id": 4711, "first_name": "Ada", "last_name": "L.", "username": "ada", "language_code": "en"}


@pytest.fixture
def bot(workspace):
    return ChannelSettings.objects.create(workspace=workspace, channel="telegram", secret=TOKEN)


def says(workspace, text, number=1, secret=None, **more):
    message = {
        "message_id": 9,
        "date": int(clock.now().timestamp()),
        "chat": CHAT,
        "from": SENDER,
        "text": text,
        **more,
    }
    return send(workspace, {"update_id": number, "message": message}, secret)


def send(workspace, update, secret=None):
    return Client().post(
        f"/api/webhooks/telegram/{workspace.id}",
        update,
        content_type="application/json",
        HTTP_X_TELEGRAM_BOT_API_SECRET_TOKEN=secret or webhook_secret(workspace.id, TOKEN),
    )


@pytest.mark.usefixtures("bot")
def test_a_message_makes_a_contact_and_an_event_once(workspace):
    date = int(clock.now().timestamp())
    for _ in range(2):
        assert says(workspace, "Hello!", date=date).json() == {"ok": True}

    contact = get_contact(workspace.id, Contact.objects.get().id)
    assert (contact.first_name, contact.identifier("telegram")) == ("Ada", "4711")
    assert contact.consent("telegram") is None
    event = Event.objects.get(name="telegram.message_received")
    assert (event.source, event.contact_id) == ("system", contact.id)
    assert event.properties == {
        "chatId": "4711",
        "messageId": 9,
        "text": "Hello!",
        "username": "ada",
        "languageCode": "en",
    }
    says(workspace, "Again", number=2)
    assert Contact.objects.count() == 1
    assert apply_effects(workspace.id) == "done"


@pytest.mark.usefixtures("bot")
def test_a_link_of_ours_makes_a_known_contact_known_there(workspace):
    jane = a_contact(workspace, "jane@example.test", first_name="Jane")

    payload = NativeClient(workspace).get(f"contacts/{jane.id}/telegram-start").json()["payload"]
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", payload), "what Telegram takes"
    says(workspace, f"/start {payload}")

    jane = get_contact(workspace.id, jane.id)
    assert (jane.first_name, jane.identifier("telegram"), jane.consent("telegram")) == (
        "Jane",
        "4711",
        "opted_in",
    )
    assert Contact.objects.count() == 1


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize("change", ["workspace", "contact", "proof"])
def test_a_link_of_somebody_elses_is_none(workspace, change):
    jane, joe = a_contact(workspace, "jane@example.test"), a_contact(workspace, "joe@example.test")
    payload = start_payload(WorkspaceFactory().id if change == "workspace" else workspace.id, jane.id)
    if change == "contact":
        payload = start_payload(workspace.id, joe.id)[:21] + payload[21:]
    if change == "proof":
        payload = payload[:-2] + "AA"

    says(workspace, f"/start {payload}")

    assert get_contact(workspace.id, jane.id).identifier("telegram") is None
    assert get_contact(workspace.id, joe.id).identifier("telegram") is None
    assert Contact.objects.count() == 3


@pytest.mark.usefixtures("bot")
def test_stopping_the_bot_is_opting_out(workspace):
    says(workspace, "/start")
    contact_id = Contact.objects.get().id
    assert get_contact(workspace.id, contact_id).consent("telegram") == "opted_in"
    says(workspace, "/stop", number=2)
    assert get_contact(workspace.id, contact_id).consent("telegram") == "opted_out"
    says(workspace, "/start", number=3)

    change = {
        "chat": CHAT,
        "from": SENDER,
        "date": int(clock.now().timestamp()),
        "new_chat_member": {"status": "kicked"},
    }
    send(workspace, {"update_id": 4, "my_chat_member": change})
    assert get_contact(workspace.id, contact_id).consent("telegram") == "opted_out"
    assert Event.objects.filter(name="telegram.chat_changed").count() == 1


@pytest.mark.usefixtures("bot")
@pytest.mark.parametrize(
    "update",
    [
        {},
        {"update_id": 1},
        {"update_id": 1, "message": {"chat": {"id": -5, "type": "group"}, "text": "hi"}},
        {"update_id": 1, "message": "hi"},
        {"update_id": "1", "message": {"chat": CHAT}},
        {"update_id": 1, "message": {"chat": CHAT, "date": 2**32}},
        {"update_id": 1, "edited_message": {"chat": CHAT}},
    ],
)
def test_other_updates_are_taken_and_ignored(workspace, update):
    assert send(workspace, update).status_code == 200
    assert not Event.objects.exists()
    assert not Contact.objects.exists()


@pytest.mark.usefixtures("bot")
def test_who_was_erased_stays_so(workspace):
    says(workspace, "/start")
    erase_person(workspace.id, Contact.objects.get())

    assert says(workspace, "Me again", number=2).status_code == 200
    assert not Contact.objects.exists()


def test_only_telegram_may_send(workspace, bot):
    other = WorkspaceFactory()
    assert says(workspace, "hi", secret="guess").status_code == 401
    assert says(workspace, "hi", secret=webhook_secret(other.id, TOKEN)).status_code == 401
    assert says(other, "hi", secret=webhook_secret(other.id, TOKEN)).status_code == 401
    bot.secret = ""
    bot.save()
    assert says(workspace, "hi", secret=webhook_secret(workspace.id, "")).status_code == 401
    assert not Event.objects.exists()


def test_telegram_is_told_where_to_send(workspace, bot, httpserver, settings):
    settings.TELEGRAM_API_URL = httpserver.url_for("").rstrip("/")
    settings.PUBLIC_URL = "https://ours.test"
    url = f"https://ours.test/api/webhooks/telegram/{workspace.id}"
    httpserver.expect_ordered_request(
        f"/bot{TOKEN}/setWebhook",
        json={
            "url": url,
            "secret_token": webhook_secret(workspace.id, TOKEN),
            "allowed_updates": ["message", "my_chat_member"],
        },
    ).respond_with_json({"ok": True, "result": True})
    httpserver.expect_ordered_request(f"/bot{TOKEN}/setWebhook").respond_with_json(
        {"ok": False, "description": "bad webhook"}, status=400
    )

    assert register_webhook(workspace.id) == url
    with pytest.raises(RegistrationRefused, match="bad webhook"):
        register_webhook(workspace.id)
    with pytest.raises(NoBot):
        register_webhook(WorkspaceFactory().id)


def test_only_who_may_write_contacts_is_given_a_link(workspace):
    jane = a_contact(workspace, "jane@example.test")
    reader = NativeClient(workspace, secret=a_key(workspace, scopes=["contacts:read"]).secret)
    assert reader.get(f"contacts/{jane.id}/telegram-start").status_code == 403
    stranger = NativeClient(WorkspaceFactory())
    assert stranger.get(f"contacts/{jane.id}/telegram-start").status_code == 404
