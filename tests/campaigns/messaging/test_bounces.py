"""E-mail that mail servers send back, as they write it."""

import io
import sys

import pytest
from django.core.management import call_command

from campaigns.models import Message, Suppression
from config import clock, ids
from contacts.crud import get_contact
from events.models import Event
from tests.campaigns.rows import a_message

RETURNED = """\
Return-Path: <>
From: MAILER-DAEMON@mx.test (Mail Delivery System)
To: bounces@ours.test
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="B"

--B
Content-Type: text/plain

I'm sorry to have to inform you ...

--B
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.test
Arrival-Date: Fri, 1 May 2026 12:00:00 +0000

Final-Recipient: rfc822; somebody-else@example.test
Action: {action}
Status: {status}
Diagnostic-Code: smtp; 550 {status} <jane@example.test>:
    Recipient address rejected

--B
Content-Type: {original}

Message-ID: <{id}@ours.test>
Subject: Hello

--B--
"""
COMPLAINT = """\
From: <abuse@mailbox.test>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="B"

--B
Content-Type: text/plain

This is an e-mail abuse report.

--B
Content-Type: message/feedback-report

Feedback-Type: {kind}
User-Agent: Mailbox/1.0
Version: 1

--B
Content-Type: message/rfc822

Message-ID:
 <{id}@ours.test>
Subject: Hello

Hello

--B--
"""


@pytest.fixture
def message(jane):
    return a_message(jane, status=Message.Status.SENT, sent_at=clock.now())


@pytest.fixture
def read(monkeypatch, capsys):
    def read_bounce(source):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(source.encode())))
        call_command("read_bounce")
        return capsys.readouterr().out.strip()

    return read_bounce


def returned(message_id, *, action="failed", status="5.1.1", original="message/rfc822"):
    return RETURNED.format(id=message_id, action=action, status=status, original=original)


@pytest.mark.parametrize("original", ["message/rfc822", "text/rfc822-headers"])
def test_an_address_that_is_none_is_suppressed(message, read, original):
    for _ in range(2):
        assert read(returned(message.pk, original=original)) == "done"

    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert message.error == "5.1.1 smtp; 550 5.1.1 <jane@example.test>: Recipient address rejected"
    assert Suppression.objects.get().address == "jane@example.test"
    assert Event.objects.filter(name="message.bounced", source="system").count() == 1


@pytest.mark.parametrize("original", ["message/global", "message/global-headers"])
def test_one_about_an_address_beyond_ascii_is_read_too(message, read, original):
    source = returned(message.pk, original=original)
    source = source.replace("message/delivery-status", "message/global-delivery-status")
    assert read(source.replace("rfc822; somebody-else@", "utf-8; zoë@")) == "done"

    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert Suppression.objects.exists()


def test_a_full_mailbox_bounces_and_is_written_to_again(message, read):
    assert read(returned(message.pk, status="5.2.2")) == "done"

    message.refresh_from_db()
    assert message.status == Message.Status.BOUNCED
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("status", ["4.4.7", "5.7.1", "5.6.0"])
def test_what_says_nothing_of_the_address_suppresses_nobody(message, read, status):
    assert read(returned(message.pk, status=status)) == "done"

    message.refresh_from_db()
    assert message.status == Message.Status.FAILED
    assert not Suppression.objects.exists()


def test_what_takes_longer_is_under_way(message, read):
    assert read(returned(message.pk, action="delayed", status="4.4.1")) == "nothing"

    message.refresh_from_db()
    assert message.status == Message.Status.SENT


def test_what_arrived_did(message, read):
    Message.objects.update(status=Message.Status.UNKNOWN, claimed_at=clock.now())

    assert read(returned(message.pk, action="delivered", status="2.0.0")) == "done"

    message.refresh_from_db()
    assert message.status == Message.Status.DELIVERED


def test_a_reader_s_complaint_is_one(workspace, jane, message, read):
    assert read(COMPLAINT.format(id=message.pk, kind="abuse")) == "done"

    assert Suppression.objects.get().reason == "complaint"
    assert not get_contact(workspace.id, jane.id).subscribed


def test_no_report_is_of_another_channel(message, read):
    Message.objects.update(channel="telegram", address="4711")

    assert read(returned(message.pk)) == "unknown"

    assert not Suppression.objects.exists()


@pytest.mark.parametrize(
    "source",
    [
        "",
        "no e-mail at all",
        "Subject: Out of office\n\nI am away.\n",
        "Content-Type: multipart/report; boundary=B\n\n",
        "Content-Type: multipart/report; boundary=B\n\n--B\nContent-Type: message/delivery-status\n\n--B--\n",
        COMPLAINT.format(id=ids.uuid7(), kind="not-spam"),
        returned("no-id"),
        returned("\x00\udcff".encode(errors="replace").decode()),
    ],
)
def test_other_e_mails_are_no_bounces(db, read, source):
    assert read(source) == "nothing"


def test_who_has_no_such_message_knows_of_none(db, read):
    assert read(returned(ids.uuid7())) == "unknown"
