"""E-mail through a real SMTP server."""

import email
import socket
import threading
from email import policy

import pytest

from campaigns.messaging.channels import email as channel
from campaigns.messaging.unknown_outcomes import resolve_message
from campaigns.models import Message, Suppression
from contacts.models import Identifier
from events.models import Event
from tests.campaigns.messages import MailServer, a_message, a_template, decided, deliver_ready, use_channel
from tests.contacts.factories import a_contact


@pytest.fixture(params=[True])
def server(settings, request):
    with MailServer(is_international=request.param) as server:
        settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server


def test_an_email_is_whole(workspace, jane, server):
    use_channel(workspace, "email", sender="Shop <shop@shop.test>")
    body = '<style>p { color: red }</style><p>Grüße, {{ contact.email }} <a href="https://shop.test">Shop</a></p>'
    message = a_message(jane, a_template(workspace, body, subject="Grüße an {{ contact.email }}"))

    assert deliver_ready(workspace.id, "email") == 1

    (envelope,) = server.mailbox.envelopes
    assert envelope.rcpt_tos == ["jane@example.test"]
    mail = email.message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Subject"] == "Grüße an jane@example.test"
    assert mail["From"] == "Shop <shop@shop.test>"
    assert mail["Message-ID"] == f"<{message.pk}@shop.test>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["List-Unsubscribe"].strip().startswith("<http://localhost:8000/unsubscribe/")
    assert [part.get_content_type() for part in mail.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "Grüße, jane@example.test [Shop](https://shop.test)" in text
    assert 'style="color: red' in html


def test_what_comes_back_goes_where_it_is_read(jane, server, settings):
    settings.BOUNCE_ADDRESS = "bounces@shop.test"
    use_channel(jane.workspace, "email", sender="Shop <shop@shop.test>")
    a_message(jane)

    deliver_ready(jane.workspace_id, "email")

    (envelope,) = server.mailbox.envelopes
    assert envelope.mail_from == "bounces@shop.test"
    assert email.message_from_bytes(envelope.content)["From"] == "Shop <shop@shop.test>"


def test_a_sent_message_is_on_record_and_on_the_stream(workspace, jane, server):
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.SENT
    assert message.sent_at is not None
    assert message.provider_id == f"{message.pk}@localhost"
    assert decided(message) == [("sent", "")]
    event = Event.objects.get(name="message.sent")
    assert (event.contact_id, event.source) == (jane.id, "system")
    assert event.properties == {"messageId": str(message.pk), "channel": "email"}


def test_a_test_message_is_no_event(workspace, jane, server):
    message = a_message(jane, is_test=True, address="staff@example.test")

    deliver_ready(workspace.id, "email")

    assert server.mailbox.envelopes[0].rcpt_tos == ["staff@example.test"]
    assert decided(message) == [("sent", "")]
    assert not Event.objects.filter(name="message.sent").exists()


def test_one_connection_serves_many(workspace, jane, server):
    for _ in range(3):
        a_message(jane)

    deliver_ready(workspace.id, "email")

    assert len(server.mailbox.envelopes) == 3
    assert server.mailbox.connections == 1


def test_an_unknown_mailbox_is_suppressed(workspace, jane, server):
    server.mailbox.to_recipient = "550 5.1.1 no such user here"
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert "no such user" in message.error
    assert decided(message) == [("not_sent", "bounced")]
    suppression = Suppression.objects.get()
    assert (suppression.address, suppression.reason) == ("jane@example.test", "bounce")
    assert suppression.message_id == message.pk
    assert Event.objects.get(name="message.bounced").properties["messageId"] == str(message.pk)


def test_a_policy_s_refusal_suppresses_nobody(workspace, jane, server):
    server.mailbox.to_recipient = "550 5.7.1 relaying denied"
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("answer", ["451 4.3.0 try later", "421 4.7.0 too many"])
def test_a_passing_refusal_is_tried_again(workspace, jane, server, time, answer):
    server.mailbox.to_text = answer
    message = a_message(jane)
    deliver_ready(workspace.id, "email")
    message.refresh_from_db()
    assert message.status == Message.Status.QUEUED
    assert 5 <= (message.send_at - time.now()).total_seconds() <= 6
    assert deliver_ready(workspace.id, "email") == 0

    server.mailbox.to_text = ""
    time.go(seconds=6)
    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.SENT, 2)
    assert len(server.mailbox.envelopes) == 1


def test_a_text_that_is_refused_for_good_fails(workspace, jane, server):
    server.mailbox.to_text = "554 5.6.0 not this"
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert decided(message) == [("not_sent", "send_failed")]


@pytest.mark.parametrize(
    ("address", "subject"),
    [("jane@example.test", "two\nlines"), ("jane@example.test\nBcc: all@example.test", "Hello")],
)
def test_what_is_no_email_fails_and_the_next_one_leaves(workspace, jane, server, address, subject):
    message = a_message(jane, priority=1)
    Message.objects.update(subject=subject)
    Identifier.objects.filter(contact=jane).update(value=address)
    a_message(a_contact(workspace, "joe@example.test"))

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert "not an e-mail" in message.error
    assert [envelope.rcpt_tos for envelope in server.mailbox.envelopes] == [["joe@example.test"]]


def test_after_its_last_attempt_a_message_fails(workspace, jane, server, time):
    use_channel(workspace, "email", max_attempts=2)
    server.mailbox.to_text = "451 4.3.0 try later"
    message = a_message(jane)

    deliver_ready(workspace.id, "email")
    time.go(hours=1)
    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.FAILED, 2)


def test_a_server_that_falls_silent_after_the_text_leaves_the_message_unknown(workspace, jane, server):
    server.mailbox.hangs_up = True
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.UNKNOWN
    assert decided(message) == [("not_sent", "unknown")]
    assert deliver_ready(workspace.id, "email") == 0


@pytest.mark.parametrize("answer", ["thanks a lot", "354 go on", "199 hm"])
def test_an_answer_that_means_nothing_leaves_the_message_unknown(workspace, jane, server, answer):
    server.mailbox.to_text = answer
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.UNKNOWN


class Raw:
    """A server that says what a test has it say, whatever it is told, and then falls silent or hangs up."""

    def __init__(self, says, *, hangs_up):
        self.says, self.hangs_up = says, hangs_up
        self.line = socket.create_server(("127.0.0.1", 0))
        self.port = self.line.getsockname()[1]
        self.goes_on = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with self.line, self.line.accept()[0] as caller:
            for answer in self.says:
                caller.sendall(answer)
                caller.recv(65_536)
            if not self.hangs_up:
                self.goes_on.wait(10)


UP_TO_TEXT = [b"220 hi\r\n", b"250 hi\r\n", b"250 ok\r\n", b"250 ok\r\n"]


@pytest.mark.parametrize(
    ("says", "hangs_up", "status"),
    [
        ([], False, Message.Status.QUEUED),
        ([], True, Message.Status.QUEUED),
        ([b"220 "], False, Message.Status.QUEUED),
        ([b"554 go away\r\n"], True, Message.Status.QUEUED),
        (UP_TO_TEXT[:2], False, Message.Status.QUEUED),
        (UP_TO_TEXT[:3], True, Message.Status.QUEUED),
        ([*UP_TO_TEXT, b"354 go on\r\n"], False, Message.Status.UNKNOWN),
        ([*UP_TO_TEXT, b"354 go on\r\n"], True, Message.Status.UNKNOWN),
        ([*UP_TO_TEXT, b"354 go on\r\n", b"25"], True, Message.Status.UNKNOWN),
        ([*UP_TO_TEXT, b"354 go on\r\n", b"421 not now\r\n"], True, Message.Status.QUEUED),
    ],
)
def test_wherever_a_server_falls_silent_only_what_may_have_left_is_unknown(
    workspace, jane, settings, says, hangs_up, status
):
    server = Raw(says, hangs_up=hangs_up)
    settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", server.port, 0.5
    message = a_message(jane)

    deliver_ready(workspace.id, "email", at_most=1)
    server.goes_on.set()

    message.refresh_from_db()
    assert message.status == status


def test_an_unknown_message_is_sent_again_where_the_channel_says_so(workspace, jane, server, time):
    use_channel(workspace, "email", on_unknown="retry")
    server.mailbox.hangs_up = True
    message = a_message(jane)
    deliver_ready(workspace.id, "email")

    server.mailbox.hangs_up = False
    time.go(seconds=10)
    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.SENT


@pytest.mark.parametrize("was_sent", [True, False])
def test_somebody_who_knows_settles_what_is_unknown(workspace, jane, server, was_sent):
    server.mailbox.hangs_up = True
    message = a_message(jane)
    deliver_ready(workspace.id, "email")
    server.mailbox.hangs_up = False

    settled = resolve_message(workspace.id, message.pk, was_sent=was_sent)

    assert settled.status == (Message.Status.SENT if was_sent else Message.Status.QUEUED)
    deliver_ready(workspace.id, "email")
    assert len(server.mailbox.envelopes) == (0 if was_sent else 1)


def test_no_server_is_no_fault_of_the_message(workspace, jane, settings):
    settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.QUEUED
    assert "no connection" in message.error


def test_a_server_that_hung_up_between_two_is_called_again(workspace, jane, server):
    a_message(jane)
    deliver_ready(workspace.id, "email")
    channel._open.connection.connection.sock.shutdown(2)
    message = a_message(a_contact(workspace, "joe@example.test"))

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.SENT, 1)


def zoe(workspace):
    return a_contact(workspace, "Zoë@Straße.test")


def test_an_address_beyond_ascii_goes_as_it_is_to_a_server_that_takes_it(workspace, server):
    use_channel(workspace, "email", sender="Café <Café@shop.test>")
    body = f"<p>Grüße, {{{{ contact.email }}}} {'x' * 2000}</p>"
    message = a_message(zoe(workspace), a_template(workspace, body, subject="Grüße"))

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert (message.status, message.error) == (Message.Status.SENT, "")
    (envelope,) = server.mailbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("Café@shop.test", ["zoë@xn--strae-oqa.test"])
    assert "SMTPUTF8" in envelope.mail_options
    head = envelope.content.partition(b"\r\n\r\n")[0].decode()
    assert "\r\nTo: zoë@xn--strae-oqa.test\r\n" in head
    assert "<Café@shop.test>" in head
    mail = email.message_from_bytes(envelope.content, policy=policy.default)
    assert mail["Subject"] == "Grüße"
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "Grüße, zoë@xn--strae-oqa.test" in text
    assert "x" * 2000 in html


@pytest.mark.parametrize("server", [False], indirect=True)
def test_a_server_that_does_not_take_it_gets_nothing_and_the_message_says_why(workspace, jane, server):
    message = a_message(zoe(workspace))

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert "no SMTPUTF8" in message.error
    assert "zoë@xn--strae-oqa.test" in message.error
    assert decided(message) == [("not_sent", "send_failed")]
    assert not Suppression.objects.exists()
    # Others go by the same server.
    a_message(jane)
    deliver_ready(workspace.id, "email")
    assert [envelope.rcpt_tos for envelope in server.mailbox.envelopes] == [["jane@example.test"]]


@pytest.mark.parametrize("server", [True, False], indirect=True)
@pytest.mark.parametrize(
    "address",
    [
        "ann@straße.test",
        '"ann b"@example.test',
        '"ann@bob"@example.test',
        "ann@[192.0.2.1]",
        "o'neil+x@a_b.test",
    ],
)
def test_an_ascii_local_part_needs_nothing_of_the_server(workspace, server, address):
    contact = a_contact(workspace, address)
    a_message(contact)

    deliver_ready(workspace.id, "email")

    (envelope,) = server.mailbox.envelopes
    assert envelope.rcpt_tos == [contact.email]
    assert "SMTPUTF8" not in envelope.mail_options
    mail = email.message_from_bytes(envelope.content, policy=policy.default)
    assert mail["To"].addresses[0].addr_spec == contact.email


@pytest.mark.parametrize(
    ("sender", "header"),
    [
        ("Käse <news@straße.test>", "Käse <news@xn--strae-oqa.test>"),
        ('"Acme: News" <news@acme.test>', '"Acme: News" <news@acme.test>'),
        ("Acme Inc. <News@ACME.test>", '"Acme Inc." <News@ACME.test>'),
    ],
)
def test_a_sender_leaves_as_it_is_with_the_domain_as_dns_has_it(workspace, jane, server, sender, header):
    use_channel(workspace, "email", sender=sender)
    a_message(jane)

    deliver_ready(workspace.id, "email")

    (envelope,) = server.mailbox.envelopes
    mail = email.message_from_bytes(envelope.content, policy=policy.default)
    assert mail["From"] == header
    assert f"<{envelope.mail_from}>" in header


def test_a_sender_that_was_saved_and_is_none_stops_the_message(workspace, jane, server):
    use_channel(workspace, "email", sender="Acme: News <news@acme.test>")
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert "in quotes" in message.error
    assert not server.mailbox.envelopes
