"""After the restore of a backup nothing leaves by itself that may have left before."""

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns import schedule
from campaigns.checks import check_deliveries
from campaigns.messaging.delivery import claim_messages
from campaigns.models import Message
from tests.campaigns.messages import a_message, decided, deliver_ready
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
LOCAL = "campaigns.messaging.channels.inbox.InboxBackend"


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


@pytest.fixture
def messages(workspace):
    """One that waits, and one that a worker had in hand."""
    waiting = [a_message(a_contact(workspace, f"c{n}@example.test")) for n in range(2)]
    claim_messages(workspace.id, "email", at_most=1)
    return waiting


def statuses():
    return sorted(Message.objects.values_list("status", flat=True))


def next_due():
    with connection.cursor() as cursor:
        cursor.execute(schedule.messages())
        return cursor.fetchone()[0]


@pytest.mark.parametrize("backend", [LOCAL, "django.core.mail.backends.locmem.EmailBackend"])
def test_nothing_leaves_while_delivery_is_paused(workspace, messages, settings, backend):
    settings.EMAIL_BACKEND = backend
    settings.DELIVERY_PAUSED = True
    assert deliver_ready(workspace.id, "email") == 0
    assert next_due() is None, "beat would ask for ever"
    settings.DELIVERY_PAUSED = False
    assert next_due() is not None
    assert deliver_ready(workspace.id, "email") == 1


def test_what_waits_is_unknown_until_somebody_says_what_became_of_it(workspace, messages, settings, capsys):
    settings.DELIVERY_PAUSED = True
    other = a_message(a_contact(WorkspaceFactory.create(), "other@example.test"))
    call_command("hold_messages", f"--workspace={workspace.id}")
    settings.DELIVERY_PAUSED = False

    assert statuses() == ["QUEUED", "UNKNOWN", "UNKNOWN"]
    other.refresh_from_db()
    assert other.status == "QUEUED"
    assert ("not_sent", "unknown") in decided(messages[0])
    assert deliver_ready(workspace.id, "email") == 0
    call_command("settle_messages", "--sent", "--channel=webhook")
    assert "0 messages" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "left"), [("--sent", 0), ("--again", 2)])
def test_what_is_unknown_is_settled_at_once(workspace, messages, settings, answer, left):
    settings.DELIVERY_PAUSED = True
    call_command("hold_messages")
    settings.DELIVERY_PAUSED = False
    call_command("settle_messages", answer)
    assert deliver_ready(workspace.id, "email") == left
    assert statuses() == ["SENT", "SENT"]


def test_it_is_refused_while_messages_leave(messages):
    with pytest.raises(CommandError, match="DELIVERY_PAUSED=1"):
        call_command("hold_messages")


def test_paused_delivery_is_a_system_check_warning(settings):
    settings.DELIVERY_PAUSED = True
    assert "headrace.W022" in [check.id for check in check_deliveries()]
    settings.DELIVERY_PAUSED = False
    assert "headrace.W022" not in [check.id for check in check_deliveries()]


def test_a_dry_run_counts_and_changes_nothing(messages, settings, capsys):
    before = statuses()
    call_command("hold_messages", "--dry-run")
    assert capsys.readouterr().out == "2 messages would be UNKNOWN\n"
    assert statuses() == before
    settings.DELIVERY_PAUSED = True
    call_command("hold_messages")
    call_command("settle_messages", "--again", "--dry-run")
    assert capsys.readouterr().out.endswith("2 messages would be queued again\n")
    assert statuses() == ["UNKNOWN", "UNKNOWN"]
