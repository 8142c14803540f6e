"""Telegram, against a server that speaks as its Bot API does."""

import json

import pytest

from campaigns.models import Message, Suppression
from contacts.crud import update_contact
from contacts.references import ContactChanges
from tests.campaigns.messages import a_message, a_template, decided, deliver_ready, reserve, use_channel

TOKEN = "123:secret"


@pytest.fixture
def jane(workspace, jane):
    return update_contact(workspace.id, jane, ContactChanges(identifiers=[("telegram", "4711")]))


@pytest.fixture
def bot(workspace, httpserver, settings):
    """Let the workspace's bot speak to a fake of the API."""
    settings.TELEGRAM_API_URL = httpserver.url_for("").rstrip("/")
    use_channel(workspace, "telegram", secret=TOKEN)

    def answer(body, status=200):
        httpserver.clear()
        httpserver.expect_request(f"/bot{TOKEN}/sendMessage", method="POST").respond_with_json(
            body, status=status
        )

    answer({"ok": True, "result": {"message_id": 9, "chat": {"id": 4711}}})
    httpserver.answer = answer
    return httpserver


def a_text(contact, body="Hello <b>{{ contact.email }}</b>"):
    return a_template(contact.workspace, body, channel="telegram", subject="")


def deliver(contact):
    message = a_message(contact, a_text(contact))
    deliver_ready(contact.workspace_id, "telegram")
    message.refresh_from_db()
    return message


def test_a_text_goes_to_the_contact_s_chat(jane, bot):
    message = deliver(jane)

    assert message.status == Message.Status.SENT
    assert message.provider_id == "4711:9"
    assert json.loads(bot.log[0][0].data) == {
        "chat_id": "4711",
        "text": "Hello <b>jane@example.test</b>",
        "parse_mode": "HTML",
    }


def test_what_a_contact_is_called_is_no_markup(workspace, jane, bot):
    update_contact(workspace.id, jane, ContactChanges(first_name="<b>&"))

    message = a_message(jane, a_text(jane, "Hello {{ contact.firstName }}"))

    assert message.body == "Hello &lt;b&gt;&amp;"


def test_a_contact_without_a_chat_gets_nothing(workspace, bot, jane):
    from_elsewhere = a_text(jane)
    jane.identifiers.filter(kind="telegram").delete()

    assert reserve(jane, from_elsewhere).reason == "no_address"


def test_who_blocked_the_bot_is_not_written_to_again(jane, bot):
    bot.answer({"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"}, 403)

    message = deliver(jane)

    assert message.status == Message.Status.BOUNCED
    assert Suppression.objects.get().address == "4711"
    assert reserve(jane, a_text(jane)).reason == "suppressed"


def test_a_429_defers_the_message_by_retry_after(jane, bot, time):
    parameters = {"retry_after": 35}
    bot.answer(
        {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": parameters}, 429
    )

    message = deliver(jane)

    assert message.status == Message.Status.QUEUED
    assert (message.send_at - time.now()).total_seconds() == 35


def test_a_text_that_cannot_be_sent_fails(jane, bot):
    bot.answer({"ok": False, "error_code": 400, "description": "Bad Request: can't parse entities"}, 400)

    message = deliver(jane)

    assert decided(message) == [("not_sent", "send_failed")]


@pytest.mark.parametrize(
    ("status", "words"), [(401, "Unauthorized"), (404, "Not Found"), (502, "Bad Gateway")]
)
def test_a_fault_that_may_be_mended_is_waited_for(jane, bot, status, words):
    bot.answer({"ok": False, "error_code": status, "description": words}, status)

    assert deliver(jane).status == Message.Status.QUEUED


def test_no_bot_is_waited_for_too(workspace, jane, bot):
    use_channel(workspace, "telegram", secret="")

    assert deliver(jane).status == Message.Status.QUEUED


def test_nobody_sees_the_token_where_nobody_answers(jane, bot, settings):
    settings.TELEGRAM_API_URL = "http://127.0.0.1:1"

    message = deliver(jane)

    assert message.status == Message.Status.QUEUED
    assert "secret" not in message.error


def test_an_answer_that_never_came_leaves_the_message_unknown(jane, bot, settings):
    bot.clear()
    bot.expect_request(f"/bot{TOKEN}/sendMessage").respond_with_data("<html>", status=200)

    assert deliver(jane).status == Message.Status.UNKNOWN
