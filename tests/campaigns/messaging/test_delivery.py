"""Claiming, deferring, cancelling and recording, whatever the channel."""

from datetime import timedelta
from threading import Event as Flag
from threading import Thread

import pytest
from django.db import connections, transaction

from campaigns.messaging import delivery
from campaigns.messaging.channels import NotSent
from campaigns.messaging.delivery import claim_messages, record_attempts, send, waiting_channels
from campaigns.messaging.dispatcher import Dispatcher
from campaigns.messaging.suppressions import suppress, unsubscribe
from campaigns.messaging.unknown_outcomes import resolve_abandoned, resolve_message
from campaigns.metrics import MESSAGES
from campaigns.models import Campaign, Enrollment, Message
from contacts.crud import delete_contact
from events.models import Event
from tests.campaigns.messages import a_message, a_template, decided, deliver_ready, use_channel
from tests.campaigns.rows import a_campaign_row, an_enrollment
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def sent(monkeypatch):
    """Let e-mail leave to a list."""
    gone: list[Message] = []

    def note(message, settings):
        gone.append(message)
        return "accepted"

    monkeypatch.setitem(delivery.SENDERS, "email", note)
    return gone


def refuse(monkeypatch, outcome):
    def fail(message, settings):
        raise outcome

    monkeypatch.setitem(delivery.SENDERS, "email", fail)


def test_what_is_claimed_is_nobody_else_s(workspace, jane):
    message = a_message(jane)

    (claimed,) = claim_messages(workspace.id, "email", at_most=5)

    assert claimed.message == message
    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.SENDING, 1)
    assert claim_messages(workspace.id, "email", at_most=5) == []


def test_messages_of_higher_priority_are_sent_first(workspace, jane, sent):
    plain, urgent = a_message(jane), a_message(jane, priority=5)

    deliver_ready(workspace.id, "email")

    assert [message.pk for message in sent] == [urgent.pk, plain.pk]


def test_other_workspaces_and_channels_are_left_alone(workspace, jane, sent):
    other = a_message(a_contact(WorkspaceFactory(), "joe@example.test"))

    assert deliver_ready(workspace.id, "email") == 0
    assert deliver_ready(other.workspace_id, "telegram") == 0
    assert deliver_ready(other.workspace_id, "email") == 1


def test_who_has_unsubscribed_meanwhile_gets_nothing(workspace, jane, sent):
    message = a_message(jane)
    unsubscribe(workspace.id, jane.id, "email")

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert sent == []
    assert message.status == Message.Status.CANCELLED
    assert decided(message) == [("not_sent", "opted_out")]


def test_what_was_suppressed_meanwhile_gets_not_even_a_receipt(workspace, jane, sent):
    message = a_message(jane, is_transactional=True)
    suppress(workspace.id, "email", "Jane@Example.test")

    deliver_ready(workspace.id, "email")

    assert sent == []
    assert decided(message) == [("not_sent", "suppressed")]


def test_who_is_gone_gets_nothing(workspace, jane, sent):
    message = a_message(jane)
    delete_contact(workspace.id, jane)

    deliver_ready(workspace.id, "email")

    assert sent == []
    assert decided(message) == [("not_sent", "erased")]


def test_a_paused_campaign_sends_nothing_until_it_goes_on(workspace, jane, sent):
    campaign = a_campaign_row(workspace, status=Campaign.Status.PAUSED)
    a_message(jane, campaign=campaign)
    assert deliver_ready(workspace.id, "email") == 0

    Campaign.objects.update(status=Campaign.Status.ACTIVE)

    assert deliver_ready(workspace.id, "email") == 1


def test_an_archived_campaign_sends_nothing_any_more(workspace, jane, sent):
    campaign = a_campaign_row(workspace, status=Campaign.Status.ARCHIVED)
    message = a_message(jane, campaign=campaign)

    deliver_ready(workspace.id, "email")

    assert sent == []
    assert decided(message) == [("not_sent", "campaign_archived")]


@pytest.mark.parametrize(
    ("reason", "status", "leaves"),
    [("goal", "converted", False), ("exit_rule", "exited", False), ("end_of_workflow", "completed", True)],
)
def test_what_failed_while_its_enrollment_ended_does_not_leave_any_more(
    workspace, jane, time, monkeypatch, sent, reason, status, leaves
):
    campaign = a_campaign_row(workspace, "Cart", status="ACTIVE")
    enrollment = an_enrollment(campaign, jane)
    message = a_message(jane, campaign=campaign, enrollment_id=enrollment.pk)
    with monkeypatch.context() as failing:
        refuse(failing, NotSent("later", is_permanent=False))
        (claimed,) = claim_messages(workspace.id, "email", at_most=5)
        attempt = send(claimed)
    Enrollment.objects.filter(id=enrollment.id).update(status=status, end_reason=reason)
    record_attempts(workspace.id, [attempt])
    time.go(days=1)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert [message.pk for message in sent] == ([message.pk] if leaves else [])
    assert message.status == ("SENT" if leaves else "CANCELLED")
    assert leaves or decided(message)[-1] == ("not_sent", reason)


def test_a_worker_that_died_leaves_the_message_unknown(workspace, jane, time, sent):
    message = a_message(jane)
    claim_messages(workspace.id, "email", at_most=1)
    assert resolve_abandoned(time.go(seconds=200)) == 0

    assert resolve_abandoned(time.go(seconds=200)) == 1

    message.refresh_from_db()
    assert message.status == Message.Status.UNKNOWN
    assert decided(message) == [("not_sent", "unknown")]
    assert deliver_ready(workspace.id, "email") == 0


def test_an_unknown_outcome_is_sent_again_where_the_channel_says_so(workspace, jane, time, sent):
    use_channel(workspace, "email", on_unknown="retry")
    message = a_message(jane)
    claim_messages(workspace.id, "email", at_most=1)

    resolve_abandoned(time.go(seconds=400))
    time.go(seconds=10)
    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert (message.status, message.attempts) == (Message.Status.SENT, 2)


def test_a_late_answer_settles_what_was_unknown(workspace, jane, time, sent):
    message = a_message(jane)
    (claimed,) = claim_messages(workspace.id, "email", at_most=1)
    resolve_abandoned(time.go(seconds=400))

    record_attempts(workspace.id, [send(claimed)])

    message.refresh_from_db()
    assert message.status == Message.Status.SENT


def test_a_late_answer_says_nothing_of_a_later_attempt(workspace, jane, time, sent, monkeypatch):
    use_channel(workspace, "email", on_unknown="retry")
    message = a_message(jane)
    (first,) = claim_messages(workspace.id, "email", at_most=1)
    resolve_abandoned(time.go(seconds=400))
    time.go(seconds=10)
    claim_messages(workspace.id, "email", at_most=1)

    record_attempts(workspace.id, [send(first)])

    message.refresh_from_db()
    assert message.status == Message.Status.SENDING


def test_what_is_settled_is_part_of_its_caller_s_transaction(workspace, jane, time, sent):
    message = a_message(jane)
    claim_messages(workspace.id, "email", at_most=1)
    resolve_abandoned(time.go(seconds=400))

    with transaction.atomic():
        resolve_message(workspace.id, message.pk, was_sent=True, provider_id="theirs")

    message.refresh_from_db()
    assert (message.status, message.provider_id) == (Message.Status.SENT, "theirs")


def test_what_breaks_a_channel_leaves_the_message_unknown(workspace, jane, monkeypatch, caplog):
    refuse(monkeypatch, RuntimeError("what\x00ever"))
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.status == Message.Status.UNKNOWN
    assert message.error == "RuntimeError: whatever"
    assert "broke its channel" in caplog.text


def test_a_receiver_says_when_to_come_again(workspace, jane, time, monkeypatch):
    refuse(monkeypatch, NotSent("slow down", is_permanent=False, retry_after=3600.0))
    message = a_message(jane)

    deliver_ready(workspace.id, "email")

    message.refresh_from_db()
    assert message.send_at == time.now() + timedelta(hours=1)


def test_attempts_are_further_and_further_apart(workspace, jane, time, monkeypatch):
    refuse(monkeypatch, NotSent("busy", is_permanent=False))
    message = a_message(jane)
    pauses = []
    for _ in range(4):
        deliver_ready(workspace.id, "email")
        message.refresh_from_db()
        pauses.append((message.send_at - time.now()).total_seconds())
        time.moment = message.send_at

    for pause, planned in zip(pauses, [5, 300, 1800, 7200], strict=True):
        assert planned <= pause <= planned * 1.2


def test_a_channel_with_due_messages_is_found(workspace, jane, time):
    a_message(jane)
    Message.objects.update(send_at=time.now() + timedelta(hours=1))
    assert waiting_channels(time.now()) == []

    assert waiting_channels(time.go(hours=1)) == [(workspace.id, "email")]


def test_a_loop_of_events_is_cut(workspace, jane, sent):
    """What a message tells is one deeper than the event that it came of."""
    event = Event.objects.create(workspace=workspace, contact=jane, name="purchase", depth=4)
    a_message(jane, event=event)

    deliver_ready(workspace.id, "email")

    sent_event = Event.objects.get(name="message.sent")
    assert (sent_event.cause_id, sent_event.depth) == (event.id, 5)


# With two connections -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_that_claim_at_once_take_different_messages():
    workspace = WorkspaceFactory()
    for place in range(6):
        a_message(a_contact(workspace, f"person{place}@example.test"))
    taken: list[list[str]] = []

    def take():
        taken.append([str(claim.message.pk) for claim in claim_messages(workspace.id, "email", at_most=3)])
        connections.close_all()

    with transaction.atomic():
        # A third has locked one, and is not done.
        held = Message.objects.select_for_update().order_by("send_at").first()
        threads = [Thread(target=take) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    flat = [message_id for ids_of_claim in taken for message_id in ids_of_claim]
    assert len(flat) == len(set(flat)) == 5
    assert str(held.pk) not in flat


@pytest.mark.django_db(transaction=True)
def test_a_cap_holds_however_many_claim_at_once():
    workspace = WorkspaceFactory()
    use_channel(workspace, "email", cap_count=1)
    jane = a_contact(workspace, "jane@example.test")
    template = a_template(workspace)
    for _ in range(4):
        a_message(jane, template)
    taken = []

    def take():
        taken.extend(claim_messages(workspace.id, "email", at_most=1))
        connections.close_all()

    threads = [Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == 1
    assert Message.objects.filter(status=Message.Status.SENDING).count() == 1


# The dispatcher -------------------------------------------------------------------------------------------------


def wait_for(condition, seconds=10.0):
    """Wait until something holds."""
    waiting = Flag()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        waiting.wait(0.05)
    raise AssertionError("it never came to be")


@pytest.fixture
def dispatcher():
    started = Dispatcher(threads=4)
    yield started
    started.close()


@pytest.mark.django_db(transaction=True)
def test_the_dispatcher_sends_all_that_is_ready(sent, dispatcher):
    workspace = WorkspaceFactory()
    for place in range(20):
        a_message(a_contact(workspace, f"person{place}@example.test"))

    dispatcher.dispatch(workspace.id, "email")

    wait_for(lambda: Message.objects.filter(status=Message.Status.SENT).count() == 20)
    assert len(sent) == len({message.pk for message in sent}) == 20


@pytest.mark.django_db(transaction=True)
def test_a_workspace_that_waits_for_its_receivers_leaves_room_for_others(dispatcher, monkeypatch):
    slow, quick = WorkspaceFactory(), WorkspaceFactory()
    goes_on = Flag()

    def hold(message, settings):
        if message.workspace_id == slow.id:
            goes_on.wait(10)
        return ""

    monkeypatch.setitem(delivery.SENDERS, "email", hold)
    for place in range(10):
        a_message(a_contact(slow, f"person{place}@example.test"))
    message = a_message(a_contact(quick, "joe@example.test"))

    dispatcher.dispatch(slow.id, "email")
    wait_for(lambda: Message.objects.filter(status=Message.Status.SENDING).count() == 3)
    dispatcher.dispatch(quick.id, "email")

    wait_for(lambda: Message.objects.filter(pk=message.pk, status=Message.Status.SENT).exists())
    assert not Message.objects.filter(workspace=slow, status=Message.Status.SENT).exists()
    goes_on.set()
    wait_for(lambda: Message.objects.filter(status=Message.Status.SENT).count() == 11)


@pytest.mark.django_db(transaction=True)
def test_what_is_under_way_is_recorded_before_the_process_ends(monkeypatch):
    dispatcher = Dispatcher(threads=2)
    begun, goes_on = Flag(), Flag()

    def hold(message, settings):
        begun.set()
        goes_on.wait(10)
        return ""

    monkeypatch.setitem(delivery.SENDERS, "email", hold)
    workspace = WorkspaceFactory()
    message = a_message(a_contact(workspace, "jane@example.test"))
    dispatcher.dispatch(workspace.id, "email")
    assert begun.wait(10)

    closing = Thread(target=dispatcher.close)
    closing.start()
    goes_on.set()
    closing.join()

    message.refresh_from_db()
    assert message.status == Message.Status.SENT


@pytest.mark.django_db(transaction=True)
def test_a_row_that_cannot_be_recorded_holds_up_no_other(dispatcher, sent, monkeypatch, caplog):
    workspace = WorkspaceFactory()
    broken = a_message(a_contact(workspace, "jane@example.test"))
    sound = a_message(a_contact(workspace, "joe@example.test"))
    record = delivery._AttemptRecorder.add

    def stumble(self, message, attempt):
        if message.pk == broken.pk:
            raise ValueError("no")
        record(self, message, attempt)

    monkeypatch.setattr(delivery._AttemptRecorder, "add", stumble)

    dispatcher.dispatch(workspace.id, "email")

    wait_for(lambda: Message.objects.filter(pk=sound.pk, status=Message.Status.SENT).exists())
    wait_for(lambda: "could not be recorded" in caplog.text)
    broken.refresh_from_db()
    assert broken.status == Message.Status.SENDING


def test_what_is_noted_of_messages_is_counted(
    workspace, jane, monkeypatch, sent, django_capture_on_commit_callbacks
):
    def counted():
        return {
            outcome: MESSAGES.labels(outcome)._value.get()
            for outcome in ("sent", "send_failed", "suppressed")
        }

    before = counted()
    with django_capture_on_commit_callbacks(execute=True):
        a_message(jane)
        a_message(jane)
        deliver_ready(workspace.id, "email")
        refuse(monkeypatch, NotSent("broken", is_permanent=True))
        a_message(jane)
        deliver_ready(workspace.id, "email")
        a_message(jane)
        suppress(workspace.id, "email", "jane@example.test")
        deliver_ready(workspace.id, "email")
    grown = {outcome: number - before[outcome] for outcome, number in counted().items()}
    assert grown == {"sent": 2, "send_failed": 1, "suppressed": 1}
