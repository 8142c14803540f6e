"""The local inbox, where e-mail goes as long as nobody has named a server."""

import pytest
from django.core.mail import send_mail
from django.urls import reverse

from campaigns.channels import inbox
from campaigns.models import Message, SentEmail
from campaigns.services.delivery import deliver_ready
from tests.campaigns.messages import a_message, a_template
from tests.contacts.factories import a_contact
from workspaces.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _local(settings):
    settings.EMAIL_BACKEND = "campaigns.channels.inbox.InboxBackend"


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


def test_so_does_what_django_sends():
    send_mail("Password", "Here is the link", None, ["boss@example.test"])

    assert SentEmail.objects.get().message_id is None


def test_the_oldest_make_room(monkeypatch):
    monkeypatch.setattr(inbox, "KEPT", 3)
    for number in range(5):
        send_mail(f"Number {number}", "", None, ["boss@example.test"])

    assert [one.subject for one in SentEmail.objects.order_by("-received_at")] == [
        "Number 4",
        "Number 3",
        "Number 2",
    ]


def test_staff_look_at_it(staff, jane):
    deliver(jane)

    page = staff.get(reverse("admin:campaigns_sentemail_changelist"), {"q": "jane@"}).content.decode()

    assert "Good news" in page
    assert "jane@example.test" in page


def test_an_email_is_shown_as_it_would_look_and_runs_nothing(staff, jane):
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
