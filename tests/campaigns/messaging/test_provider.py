"""E-mail by a provider's API, spoken to over HTTP."""

import subprocess
import sys
import time

import pytest

from campaigns.messaging.channels import email as channel
from campaigns.models import Message
from tests.campaigns.messages import a_message, decided, deliver_ready
from tests.contacts.factories import a_contact

PATH = "/api/v1/send/message"


@pytest.fixture
def provider(settings, httpserver):
    """Let e-mail leave by the API of a server that one can run oneself."""
    settings.EMAIL_BACKEND = "anymail.backends.postal.EmailBackend"
    url = httpserver.url_for("/")
    settings.ANYMAIL = {**settings.ANYMAIL, "POSTAL_API_KEY": "key", "POSTAL_API_URL": url}

    def answer(body, status=200):
        httpserver.clear()
        httpserver.expect_request(PATH, method="POST").respond_with_json(body, status=status)

    answer({"status": "success", "data": {"message_id": "theirs", "messages": {}}})
    httpserver.answer = answer
    return httpserver


def deliver(jane):
    message = a_message(jane)
    deliver_ready(jane.workspace_id, "email")
    message.refresh_from_db()
    return message


def test_a_provider_takes_an_email_and_names_it(jane, provider):
    recipients = {"jane@example.test": {"id": 1, "token": "abc"}}
    provider.answer({"status": "success", "data": {"message_id": "theirs", "messages": recipients}})

    message = deliver(jane)

    assert message.status == Message.Status.SENT
    assert message.provider_id == "1"
    ((request, _),) = provider.log
    assert request.json["to"] == ["jane@example.test"]
    assert request.json["html_body"].startswith("<p>Hello jane@example.test</p>")
    assert request.json["headers"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_what_is_wrong_with_the_account_or_the_moment_passes(jane, provider, status):
    provider.answer({}, status)

    assert deliver(jane).status == Message.Status.QUEUED


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_wrong_with_the_message_does_not(jane, provider, status):
    provider.answer({}, status)

    assert decided(deliver(jane)) == [("not_sent", "send_failed")]


def test_an_answer_that_never_came_leaves_the_message_unknown(jane, provider, settings):
    settings.ANYMAIL = {**settings.ANYMAIL, "REQUESTS_TIMEOUT": (1, 0.2)}
    channel._hang_up()
    provider.clear()
    provider.expect_request(PATH).respond_with_handler(lambda request: time.sleep(0.5))

    assert deliver(jane).status == Message.Status.UNKNOWN
    # The server is every test's: the next one is not to find this request there.
    while not provider.log:
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "backend", "more"),
    [
        ("", "campaigns.messaging.channels.inbox.InboxBackend", None),
        (
            "smtp+tls://me:secret@mail.test:587",
            "campaigns.messaging.channels.email.SMTPBackend",
            ("EMAIL_PORT", 587),
        ),
        ("consolemail://", "django.core.mail.backends.console.EmailBackend", None),
        (
            "anymail+some_provider://?api_key=secret&sender_domain=shop.test",
            "anymail.backends.some_provider.EmailBackend",
            ("ANYMAIL", {"SOME_PROVIDER_API_KEY": "secret", "SOME_PROVIDER_SENDER_DOMAIN": "shop.test"}),
        ),
    ],
)
def test_an_address_says_how_email_leaves(url, backend, more):
    code = f"from config import settings as s; print(s.EMAIL_BACKEND, s.{more[0] if more else 'DEBUG'!s}, sep='|')"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={"EMAIL_URL": url, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()

    name, _, value = printed.partition("|")
    assert name == backend
    if more and isinstance(more[1], dict):
        for key, part in more[1].items():
            assert f"'{key}': '{part}'" in value
    elif more:
        assert value == str(more[1])


def test_an_address_beyond_ascii_is_the_providers_as_it_is(workspace, provider):
    deliver(a_contact(workspace, "zoë@straße.test"))

    ((request, _),) = provider.log
    assert request.json["to"] == ["zoë@xn--strae-oqa.test"]
