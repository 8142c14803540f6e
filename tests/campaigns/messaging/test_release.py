"""What is lifted keeps nothing waiting any more."""

import threading
from datetime import time as time_of_day
from datetime import timedelta

import pytest
from django.db import connections, transaction

from campaigns.messaging import delivery
from campaigns.messaging.channel_settings import save_channel
from campaigns.messaging.delivery import claim_messages
from campaigns.messaging.suppressions import (
    remove_suppression,
    set_preferences,
    suppress,
    unsubscribe,
    unsuppress,
)
from campaigns.models import Decision, Enrollment, Message, Suppression
from config import clock
from tests.campaigns.messages import a_message, decided, deliver_ready, use_channel
from tests.campaigns.messaging.test_delivery import sent  # noqa: F401  # a fixture
from tests.contacts.imports.files import run
from tests.native import NativeClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def capped(workspace, jane, time, sent):  # noqa: F811
    """Return a message that waits for a cap of one a day."""
    use_channel(workspace, "email", cap_count=1, cap_hours=24)
    first, second = a_message(jane), a_message(jane)
    assert deliver_ready(workspace.id, "email") == 1
    waiting = [message for message in (first, second) if not refreshed(message).sent_at]
    (message,) = waiting
    assert decided(message) == [("deferred", "frequency_cap")]
    return message


def refreshed(message):
    message.refresh_from_db()
    return message


@pytest.mark.parametrize(
    ("change", "leaves"),
    [
        ({"cap_count": None}, True),
        ({"cap_count": 2}, True),
        ({"cap_hours": 1}, False),
        ({"cap_hours": 48}, False),
        ({"max_attempts": 3}, False),
    ],
)
def test_a_lifted_or_raised_cap_releases_deferred_messages(workspace, time, capped, change, leaves):
    time.go(minutes=30)
    save_channel(workspace.id, "email", **change)
    deliver_ready(workspace.id, "email")
    assert refreshed(capped).status == ("SENT" if leaves else "QUEUED")


def test_a_shorter_cap_period_releases_deferred_messages(workspace, time, capped):
    time.go(hours=2)
    assert deliver_ready(workspace.id, "email") == 0
    save_channel(workspace.id, "email", cap_hours=1)
    assert deliver_ready(workspace.id, "email") == 1
    assert refreshed(capped).status == "SENT"


def test_over_the_api_too_and_the_workers_are_called(workspace, capped, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks() as calls:
        assert NativeClient(workspace).patch("channels/email", {"frequencyCap": None}).status_code == 200
    assert calls
    assert deliver_ready(workspace.id, "email") == 1


@pytest.mark.parametrize("change", [{"quiet_from": None, "quiet_until": None}, {"time_zone": "Asia/Tokyo"}])
def test_edited_quiet_hours_release_deferred_messages(workspace, jane, time, sent, change):  # noqa: F811
    use_channel(workspace, "email", quiet_from=time_of_day(11), quiet_until=time_of_day(14))
    message = a_message(jane)
    assert message.send_at == time.now() + timedelta(hours=2)
    save_channel(workspace.id, "email", **change)
    assert deliver_ready(workspace.id, "email") == 1
    assert refreshed(message).status == "SENT"


def test_what_is_tried_again_after_a_failure_keeps_its_pause(workspace, jane, time):
    message = a_message(jane)
    later = time.now() + timedelta(minutes=5)
    Message.objects.filter(pk=message.pk).update(attempts=1, send_at=later)
    save_channel(workspace.id, "email", cap_count=5)
    assert refreshed(message).send_at == later


def test_an_unsent_message_no_longer_counts_for_the_cap(workspace, jane, time, sent):  # noqa: F811
    use_channel(workspace, "email", cap_count=1, cap_hours=24, max_attempts=1)
    first, second = a_message(jane), a_message(jane, priority=-1)
    (claimed,) = claim_messages(workspace.id, "email", at_most=1)
    assert claimed.message.pk == first.pk
    assert claim_messages(workspace.id, "email", at_most=1) == []
    failed = delivery.Attempt(claimed, delivery.NotSent("no", is_permanent=True), time.now())
    delivery.record_attempts(workspace.id, [failed])
    assert deliver_ready(workspace.id, "email") == 1
    assert refreshed(second).status == "SENT"


def stopped(workspace, message):
    assert deliver_ready(workspace.id, "email") == 0
    return refreshed(message).status, message.error


@pytest.mark.parametrize("how", ["service", "by id", "api"])
def test_lifting_a_suppression_releases_messages(workspace, jane, time, sent, how):  # noqa: F811
    message = a_message(jane)
    suppress(workspace.id, "email", "jane@example.test")
    assert stopped(workspace, message) == ("CANCELLED", "suppressed")
    time.go(hours=1)
    row = Suppression.objects.get(workspace=workspace)
    if how == "service":
        assert unsuppress(workspace.id, "email", " Jane@Example.test")
    elif how == "by id":
        remove_suppression(workspace.id, row.id)
    else:
        assert NativeClient(workspace).delete(f"suppressions/{row.id}").status_code == 204
    assert deliver_ready(workspace.id, "email") == 1
    assert refreshed(message).status == "SENT"
    assert decided(message) == [("not_sent", "suppressed"), ("sent", "")]
    assert not unsuppress(workspace.id, "email", "jane@example.test")


def test_messages_stopped_long_ago_are_not_released(workspace, jane, time, sent):  # noqa: F811
    message = a_message(jane)
    suppress(workspace.id, "email", "jane@example.test")
    stopped(workspace, message)
    time.go(hours=73)
    unsuppress(workspace.id, "email", "jane@example.test")
    assert deliver_ready(workspace.id, "email") == 0


def test_messages_stopped_for_another_reason_stay_stopped(workspace, jane, time, sent):  # noqa: F811
    goal, suppressed, overtaken = (a_message(jane) for _ in range(3))
    enrollment = Enrollment.objects.create(
        workspace=workspace, campaign_id=goal.id, version_id=goal.id, contact=jane, key="k", end_reason="goal"
    )
    cancelled = Message.objects.filter(workspace=workspace)
    cancelled.update(status="CANCELLED", error="suppressed")
    cancelled.filter(pk=goal.pk).update(error="goal")
    cancelled.filter(pk=overtaken.pk).update(enrollment_id=enrollment.id)
    suppress(workspace.id, "email", "jane@example.test")
    unsuppress(workspace.id, "email", "jane@example.test")
    assert [refreshed(message).status for message in (goal, suppressed, overtaken)] == [
        "CANCELLED",
        "QUEUED",
        "CANCELLED",
    ]


def test_who_opts_in_again_gets_what_was_stopped_meanwhile(workspace, jane, time, sent):  # noqa: F811
    message = a_message(jane)
    unsubscribe(workspace.id, jane.id, "email")
    assert stopped(workspace, message) == ("CANCELLED", "opted_out")
    set_preferences(workspace.id, jane.id, {"email": True})
    assert deliver_ready(workspace.id, "email") == 1


def test_who_opts_in_gets_what_was_stopped_before(workspace, jane, time, sent):  # noqa: F811
    message = a_message(jane)
    save_channel(workspace.id, "email", requires_opt_in=True)
    assert stopped(workspace, message) == ("CANCELLED", "no_consent")
    set_preferences(workspace.id, jane.id, {"email": True})
    assert deliver_ready(workspace.id, "email") == 1


@pytest.mark.parametrize(
    ("effects", "leaving"), [("none", 0), ("scores-and-segments", 0), ("all", 1)], ids=str
)
def test_a_list_that_opts_in_sends_nothing_unless_it_may_have_all_effects(
    workspace,
    jane,
    time,
    sent,  # noqa: F811
    tmp_path,
    effects,
    leaving,
):
    message = a_message(jane)
    save_channel(workspace.id, "email", requires_opt_in=True)
    assert stopped(workspace, message) == ("CANCELLED", "no_consent")
    path = tmp_path / "list.csv"
    path.write_text("email,consents.email\njane@example.test,subscribed\n")
    assert run("import_contacts", path, workspace, effects=effects)[0] == 0
    assert deliver_ready(workspace.id, "email") == leaving
    # Later ones leave in any case.
    a_message(jane)
    assert deliver_ready(workspace.id, "email") == 1


def test_a_channel_without_opt_in_releases_messages_that_had_none(workspace, jane, time, sent):  # noqa: F811
    message = a_message(jane)
    save_channel(workspace.id, "email", requires_opt_in=True)
    assert stopped(workspace, message) == ("CANCELLED", "no_consent")
    save_channel(workspace.id, "email", requires_opt_in=False)
    assert deliver_ready(workspace.id, "email") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lifted", ["cap", "suppression"])
def test_a_release_during_an_evaluation_by_the_old_settings_is_not_lost(workspace, jane, monkeypatch, lifted):
    """The worker has read the rule of before; it is lifted before the worker has noted what it says."""
    use_channel(workspace, "email", cap_count=1 if lifted == "cap" else None)
    before, message = a_message(jane), a_message(jane)
    Message.objects.filter(pk=before.pk).update(status="SENT", sent_at=clock.now())
    if lifted == "suppression":
        suppress(workspace.id, "email", "jane@example.test")
    evaluated, goes_on = threading.Event(), threading.Event()
    original = delivery._claim_allowed

    def admit(*arguments):
        leaving = original(*arguments)
        evaluated.set()
        goes_on.wait(10)
        return leaving

    def lift():
        evaluated.wait(10)
        try:
            with transaction.atomic():
                threading.Timer(0.3, goes_on.set).start()
                if lifted == "cap":
                    save_channel(workspace.id, "email", cap_count=None)
                else:
                    unsuppress(workspace.id, "email", "jane@example.test")
        finally:
            connections.close_all()

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "_claim_allowed", admit)
        lifter = threading.Thread(target=lift)
        lifter.start()
        claimed = claim_messages(workspace.id, "email", at_most=1)
        lifter.join(20)
    assert Decision.objects.filter(message_id=message.pk).exists()
    claimed = claimed or claim_messages(workspace.id, "email", at_most=1)
    assert [claim.message.pk for claim in claimed] == [message.pk]
