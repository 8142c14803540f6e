"""Headers of the sender's own, and texts that are no templates."""

import pytest

from campaigns.messaging import liquid
from campaigns.messaging.channels.email import compose
from campaigns.messaging.queue import MessageRequest, enqueue_message
from campaigns.messaging.senders import header_error
from campaigns.messaging.transactional import literal
from campaigns.models import ChannelSettings
from config import clock
from config.values.emails import mailbox_text, read_mailbox
from tests.campaigns.messages import a_template


@pytest.mark.parametrize(
    "name", ["X-Order", "x-correlation-id", "Auto-Submitted", "In-Reply-To", "Topic", "Datetime", "Fromage"]
)
def test_a_header_of_the_senders_own(name):
    assert header_error(name, "abc-123") == ""


@pytest.mark.parametrize(
    "name",
    [
        "Bcc",
        "bcc",
        "To",
        "FROM",
        "Content-Type",
        "List-Unsubscribe",
        "DKIM-Signature",
        "Return-Path",
        "X:",
        "",
    ],
)
def test_a_header_of_the_mail_itself(name):
    assert header_error(name, "abc-123")


@pytest.mark.parametrize("value", ["a\nb", "a\r\nBcc: c", "\x00", "x" * 999])
def test_a_value_that_is_no_line(value):
    assert header_error("X-Order", value)


def test_headers_and_values_of_a_request_reach_the_mail(workspace, jane):
    request = MessageRequest(
        jane.id,
        "email",
        a_template(workspace, "<p>{{ item }} for {{ contact.email }}</p>"),
        "key",
        is_transactional=True,
        values={"item": "tea"},
        headers={"X-Order": "7"},
    )
    message = enqueue_message(workspace.id, request, now=clock.now()).message
    mail = compose(message, ChannelSettings(workspace=workspace, channel="email"))
    assert message.text == "tea for jane@example.test"
    assert mail.message()["X-Order"] == "7"


@pytest.mark.parametrize("kind", ["html", "text"])
@pytest.mark.parametrize(
    "text", ["{", "{{", "{%", "{{{", "a {{ b }} {% if %} {{{x}}} {{{{ {%{{% }", "<b>&amp;</b> {# x #}"]
)
def test_a_text_that_is_no_template_stays_as_it_is(text, kind):
    assert liquid.render(literal(text), {}, kind) == text


@pytest.mark.parametrize("name", ["Acme", "Acme, Inc.", 'The "Best" \\ Shop', "Café <x>"])
def test_a_mailbox_is_read_as_it_was_typed(name):
    mailbox = read_mailbox(mailbox_text(name, "a@b.example"))
    assert (mailbox.name, mailbox.address) == (name, "a@b.example")
