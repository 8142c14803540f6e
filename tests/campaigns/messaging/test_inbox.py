"""The local inbox, where e-mail goes as long as nobody has named a server."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from django.core.mail import send_mail
from django.db import InterfaceError, OperationalError, connection
from django.urls import reverse

from campaigns.messaging import delivery
from campaigns.messaging.channels import inbox
from campaigns.models import Message, SentEmail
from tests.campaigns.messages import a_message, a_template, deliver_ready
from tests.contacts.factories import a_contact
from workspaces.models import User

pytestmark = pytest.mark.django_db
MOST_SECONDS = 120


@pytest.fixture(autouse=True)
def _local(settings):
    settings.EMAIL_BACKEND = "campaigns.messaging.channels.inbox.InboxBackend"


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("boss@example.test", "pass"))
    return client


def deliver(jane, body="<p>Hello {{ contact.email }}</p>"):
    message = a_message(jane, a_template(jane.workspace, body, subject="Good news"))
    deliver_ready(jane.workspace_id, "email")
    message.refresh_from_db()
    return message


def test_an_email_lands_in_the_inbox(jane):
    message = deliver(jane)

    assert message.status == Message.Status.SENT
    kept = SentEmail.objects.get()
    assert (kept.message_id, kept.workspace_id) == (message.pk, message.workspace_id)
    assert (kept.subject, kept.recipients) == ("Good news", ["jane@example.test"])
    assert b"List-Unsubscribe" in kept.source


def test_an_inbox_e_mail_is_stored_by_the_commit_that_records_it_as_sent(jane, monkeypatch):
    """What fails leaves neither: no message is ever under way, so none can be unknown."""
    message = a_message(jane)
    settle = delivery._write_if_claimed

    def lose_the_connection(*_):
        raise OperationalError("the server is gone")

    monkeypatch.setattr(delivery, "_write_if_claimed", lose_the_connection)
    with pytest.raises(OperationalError):
        deliver_ready(jane.workspace_id, "email")
    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.QUEUED, 0)
    assert not SentEmail.objects.exists()

    monkeypatch.setattr(delivery, "_write_if_claimed", settle)
    deliver_ready(jane.workspace_id, "email")
    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.SENT, 1)
    assert SentEmail.objects.get().message_id == message.pk


def test_one_that_is_no_email_holds_up_no_other(jane, monkeypatch):
    bad, good = a_message(jane), a_message(jane)
    row_of = inbox.row_of

    def spoil(mail):
        row = row_of(mail)
        row.subject = "\x00" if row.message_id == bad.pk else row.subject
        return row

    monkeypatch.setattr(inbox, "row_of", spoil)
    deliver_ready(jane.workspace_id, "email")

    assert SentEmail.objects.get().message_id == good.pk
    statuses = dict(Message.objects.values_list("pk", "status"))
    assert statuses == {bad.pk: Message.Status.FAILED, good.pk: Message.Status.SENT}


@pytest.mark.django_db(transaction=True)
def test_a_worker_whose_connections_are_killed_delivers_each_once(jane):
    messages = [a_message(jane) for _ in range(40)]
    is_over = threading.Event()

    def deliver_on():
        try:
            while not is_over.is_set():
                try:
                    with connection.cursor() as cursor:
                        cursor.execute("SET application_name = 'deliverer'")
                    if not delivery.deliver_locally(jane.workspace_id, "email", at_most=3):
                        return
                except (OperationalError, InterfaceError):
                    pass
                finally:
                    connection.close()
        finally:
            is_over.set()

    kills, pause, deadline = 0, 0.01, monotonic() + MOST_SECONDS
    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(deliver_on)
        while not is_over.wait(random.uniform(0.1, 2) * pause):
            if monotonic() > deadline:
                is_over.set()
                pytest.fail(f"not delivered, after {kills} kills")
            with connection.cursor() as cursor:
                cursor.execute(_KILL)
                kills += cursor.rowcount
            # A machine that needs longer for a few messages than from one kill to the next would never be done.
            pause *= 1.05
        worker.result()

    assert kills > 3
    assert set(Message.objects.values_list("status", flat=True)) == {Message.Status.SENT}
    assert Counter(SentEmail.objects.values_list("message_id", flat=True)) == Counter(
        message.pk for message in messages
    )


_KILL = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'deliverer'"
)


def test_e_mail_of_django_is_stored_too():
    send_mail("Password", "Here is the link", None, ["boss@example.test"])

    assert SentEmail.objects.get().message_id is None


def test_the_inbox_deletes_its_oldest_e_mails(monkeypatch):
    monkeypatch.setattr(inbox, "KEPT", 3)
    for number in range(5):
        send_mail(f"Number {number}", "", None, ["boss@example.test"])

    assert [email.subject for email in SentEmail.objects.order_by("-received_at")] == [
        "Number 4",
        "Number 3",
        "Number 2",
    ]


def test_staff_look_at_it(staff, jane):
    deliver(jane)

    page = staff.get(reverse("admin:campaigns_sentemail_changelist"), {"q": "jane@"}).content.decode()

    assert "Good news" in page
    assert "jane@example.test" in page


def test_an_email_is_shown_as_it_would_look_and_enrollments_nothing(staff, jane):
    deliver(jane, "<h1>Hi</h1><script>alert(1)</script>")
    url = reverse("admin:campaigns_sentemail_change", args=[SentEmail.objects.get().pk])

    page = staff.get(url).content.decode()

    assert '<iframe sandbox title="e-mail" srcdoc="&lt;h1&gt;Hi&lt;/h1&gt;&lt;script&gt;' in page
    assert "<script>alert(1)</script>" not in page
    assert "List-Unsubscribe-Post" in page


def test_its_source_is_plain_text(staff, jane):
    deliver(jane)
    kept = SentEmail.objects.get()

    answer = staff.get(reverse("admin:campaigns_sentemail_source", args=[kept.pk]))

    assert answer.content == bytes(kept.source)
    assert answer["Content-Type"].startswith("text/plain")


def test_others_see_nothing(client, jane):
    deliver(jane)
    kept = SentEmail.objects.get()

    assert client.get(reverse("admin:campaigns_sentemail_source", args=[kept.pk])).status_code == 302
    assert client.get(reverse("admin:campaigns_sentemail_changelist")).status_code == 302


def test_an_address_beyond_ascii_is_kept_as_it_is(workspace):
    message = a_message(a_contact(workspace, "zoë@straße.test"))
    deliver_ready(workspace.id, "email")
    message.refresh_from_db()
    assert message.status == Message.Status.SENT
    assert "\r\nTo: zoë@xn--strae-oqa.test\r\n" in bytes(SentEmail.objects.get().source).decode()
