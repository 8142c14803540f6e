"""Who may be written to, when, and how often."""

from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day

import pytest

from campaigns.errors import InvalidAddress
from campaigns.messaging.public_links import read_unsubscribe_token, unsubscribe_token
from campaigns.messaging.suppressions import (
    preferences_of,
    set_preferences,
    suppress,
    unsubscribe,
    unsuppress,
)
from campaigns.models import Decision, Message, Suppression
from config import ids
from contacts.crud import clear_identifier, remove_identifier, set_consent, update_contact
from contacts.errors import ContactNotFound
from contacts.merging.merges import merge_contacts
from contacts.references import ContactChanges
from events.models import Event
from tests.campaigns.messages import a_message, a_template, decided, deliver_ready, reserve, use_channel
from tests.campaigns.messaging.test_delivery import sent  # noqa: F401  # a fixture
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory


def test_a_contact_without_consent_is_written_to(jane):
    assert reserve(jane).deferred_until is None


def test_an_opted_out_contact_is_not_written_to(workspace, jane):
    set_consent(workspace.id, jane, "email", "opted_out")

    refused = reserve(jane)

    assert refused.reason == "opted_out"
    assert Decision.objects.get().reason == "opted_out"
    assert not Message.objects.exists()


def test_an_opted_out_contact_gets_transactional_messages(workspace, jane):
    set_consent(workspace.id, jane, "email", "opted_out")

    assert reserve(jane, is_transactional=True).deferred_until is None


def test_where_a_workspace_asks_for_it_only_who_opted_in_is_written_to(workspace, jane):
    use_channel(workspace, "email", requires_opt_in=True)
    assert reserve(jane).reason == "no_consent"

    set_consent(workspace.id, jane, "email", "opted_in")

    assert reserve(jane).deferred_until is None


def test_of_merged_contacts_one_who_opted_out_speaks_for_the_person(workspace, jane):
    other = a_contact(workspace, "j@example.test")
    set_consent(workspace.id, other, "email", "opted_out")
    merge_contacts(workspace.id, jane, other)

    assert reserve(jane).reason == "opted_out"


def test_a_merged_contact_s_message_goes_to_the_survivor(workspace, jane):
    other = a_contact(workspace, "j@example.test")
    merge_contacts(workspace.id, jane, other)

    message = a_message(other)

    assert (message.contact_id, message.address) == (jane.id, "jane@example.test")


def test_a_contact_without_an_address_gets_nothing(workspace):
    assert reserve(a_contact(workspace)).reason == "no_address"


def test_an_erased_contact_gets_nothing(workspace, jane):
    jane.id = ids.uuid7()

    assert reserve(jane).reason == "erased"


def test_a_suppressed_address_gets_nothing_whoever_has_it(workspace, jane):
    suppress(workspace.id, "email", " JANE@example.test", reason="complaint")

    assert reserve(jane).reason == "suppressed"
    assert reserve(jane, is_transactional=True).reason == "suppressed"
    assert Decision.objects.first().detail == {"address": "jane@example.test"}


def test_another_workspace_s_suppression_is_its_own(jane):
    suppress(WorkspaceFactory().id, "email", "jane@example.test")

    assert reserve(jane).deferred_until is None


def test_the_first_reason_of_a_suppression_stays(workspace):
    assert suppress(workspace.id, "email", "jane@example.test", reason="complaint")
    assert not suppress(workspace.id, "email", "jane@example.test", reason="bounce")

    assert Suppression.objects.get().reason == "complaint"


def test_what_is_lifted_is_no_suppression(workspace, jane):
    suppress(workspace.id, "email", "jane@example.test")

    assert unsuppress(workspace.id, "email", "Jane@example.test")
    assert not unsuppress(workspace.id, "email", "jane@example.test")
    assert reserve(jane).deferred_until is None


# Quiet hours ---------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet(workspace):
    return use_channel(
        workspace, "email", quiet_from=time_of_day(22), quiet_until=time_of_day(8), time_zone="Europe/Paris"
    )


def at(hour, minute=0, day=1):
    """Return a moment in UTC; in Paris it is two hours later."""
    return datetime(2026, 5, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "leaves"),
    [
        (at(19, 59), None),
        (at(20), at(6, day=2)),
        (at(23), at(6, day=2)),
        (at(5, 59), at(6)),
        (at(6), None),
    ],
)
def test_quiet_hours_defer(jane, quiet, time, now, leaves):
    time.moment = now

    assert reserve(jane).deferred_until == leaves


def test_quiet_hours_of_one_day_end_on_it(workspace, jane, time):
    use_channel(workspace, "email", quiet_from=time_of_day(12), quiet_until=time_of_day(14))

    assert reserve(jane).deferred_until == at(14)


def test_quiet_hours_are_the_contact_s(workspace, jane, quiet, time):
    update_contact(workspace.id, jane, ContactChanges(attributes={"timeZone": "Asia/Tokyo"}))
    time.moment = at(13)  # 22:00 in Tokyo

    assert reserve(jane).deferred_until == at(23)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", 5, ""])
def test_a_zone_that_is_none_is_the_workspace_s(workspace, jane, quiet, time, zone):
    update_contact(workspace.id, jane, ContactChanges(attributes={"timeZone": zone}))
    time.moment = at(20)

    assert reserve(jane).deferred_until == at(6, day=2)


def test_quiet_hours_end_at_the_local_hour_when_the_clocks_change(workspace, jane, quiet, time):
    """In the night to 29 March 2026 Paris goes from UTC+1 to UTC+2."""
    time.moment = datetime(2026, 3, 28, 22, tzinfo=UTC)

    assert reserve(jane).deferred_until == datetime(2026, 3, 29, 6, tzinfo=UTC)


def test_transactional_messages_ignore_quiet_hours(jane, quiet, time):
    time.moment = at(20)

    assert reserve(jane, is_transactional=True).deferred_until is None


def test_a_deferred_message_leaves_in_the_morning(workspace, jane, quiet, time, sent):  # noqa: F811
    time.moment = at(20)
    message = a_message(jane)
    assert decided(message) == [("deferred", "quiet_hours")]
    assert deliver_ready(workspace.id, "email") == 0

    time.moment = at(6, day=2)
    assert deliver_ready(workspace.id, "email") == 1

    assert decided(message) == [("deferred", "quiet_hours"), ("sent", "")]


def test_a_backlog_waits_for_quiet_hours(workspace, jane, quiet, time, sent):  # noqa: F811
    message = a_message(jane)
    time.moment = at(20)

    assert deliver_ready(workspace.id, "email") == 0

    message.refresh_from_db()
    assert message.send_at == at(6, day=2)
    assert decided(message) == [("deferred", "quiet_hours")]


# Caps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def capped(workspace):
    return use_channel(workspace, "email", cap_count=2, cap_hours=24)


def test_a_cap_defers_until_there_is_room(workspace, jane, capped, time, sent):  # noqa: F811
    first = time.now()
    a_message(jane)
    deliver_ready(workspace.id, "email")
    time.go(hours=1)
    a_message(jane)
    deliver_ready(workspace.id, "email")
    time.go(hours=1)

    third = reserve(jane)

    assert third.deferred_until == first + timedelta(hours=24)
    assert decided(third.message) == [("deferred", "frequency_cap")]
    time.moment = third.deferred_until
    assert deliver_ready(workspace.id, "email") == 1


def test_what_is_reserved_at_once_is_capped_when_it_leaves(workspace, jane, capped, time, sent):  # noqa: F811
    messages = [a_message(jane) for _ in range(3)]

    assert deliver_ready(workspace.id, "email") == 2

    waiting = Message.objects.get(status=Message.Status.QUEUED)
    assert waiting.send_at == time.now() + timedelta(hours=24)
    assert decided(waiting) == [("deferred", "frequency_cap")]
    assert waiting in messages


def test_where_a_cap_leaves_room_for_one_the_urgent_one_takes_it(workspace, jane, time, sent):  # noqa: F811
    use_channel(workspace, "email", cap_count=1)
    a_message(jane)
    deliver_ready(workspace.id, "email")
    plain = a_message(jane)
    urgent = a_message(jane, priority=5)
    time.go(hours=24)

    assert deliver_ready(workspace.id, "email") == 1

    assert sent[-1].pk == urgent.pk
    plain.refresh_from_db()
    assert plain.status == Message.Status.QUEUED


def test_transactional_messages_neither_count_nor_are_capped(workspace, jane, capped, sent):  # noqa: F811
    for _ in range(3):
        a_message(jane, is_transactional=True)

    assert deliver_ready(workspace.id, "email") == 3
    assert reserve(jane).deferred_until is None


def test_a_cap_counts_messages_to_all_merged_contacts(workspace, jane, time, sent):  # noqa: F811
    use_channel(workspace, "email", cap_count=1)
    other = a_contact(workspace, "j@example.test")
    a_message(other)
    deliver_ready(workspace.id, "email")
    assert reserve(jane).deferred_until is None

    merge_contacts(workspace.id, jane, other)

    assert reserve(jane).deferred_until == time.now() + timedelta(hours=24)


def test_room_under_a_cap_during_quiet_hours_waits_for_their_end(workspace, jane, time, sent):  # noqa: F811
    use_channel(
        workspace, "email", cap_count=1, cap_hours=10, quiet_from=time_of_day(21), quiet_until=time_of_day(8)
    )
    a_message(jane)
    deliver_ready(workspace.id, "email")  # at 12:00: there is room again at 22:00

    assert reserve(jane).deferred_until == at(8, day=2)


# What people say -----------------------------------------------------------------------------------------------


def test_unsubscribing_is_an_event_and_the_message_says_so(workspace, jane, sent):  # noqa: F811
    message = a_message(jane)
    deliver_ready(workspace.id, "email")

    unsubscribe(workspace.id, jane.id, "email", message_id=message.pk)
    unsubscribe(workspace.id, jane.id, "email", message_id=message.pk)

    message.refresh_from_db()
    assert message.status == Message.Status.UNSUBSCRIBED
    assert Event.objects.filter(name="contact.unsubscribed", contact=jane).count() == 1
    assert reserve(jane).reason == "opted_out"


def test_unsubscribing_leaves_other_contacts_messages_alone(workspace, jane, sent):  # noqa: F811
    message = a_message(a_contact(workspace, "joe@example.test"))
    deliver_ready(workspace.id, "email")

    unsubscribe(workspace.id, jane.id, "email", message_id=message.pk)

    message.refresh_from_db()
    assert message.status == Message.Status.SENT


def test_preferences_are_the_person_s(workspace, jane):
    assert preferences_of(workspace.id, jane.id) == {"email": True, "telegram": True}

    set_preferences(workspace.id, jane.id, {"email": False, "telegram": True})

    assert preferences_of(workspace.id, jane.id) == {"email": False, "telegram": True}
    assert reserve(jane).reason == "opted_out"


def test_a_merged_contact_s_link_still_works(workspace, jane):
    other = a_contact(workspace, "j@example.test")
    merge_contacts(workspace.id, jane, other)

    unsubscribe(workspace.id, other.id, "email")

    assert preferences_of(workspace.id, other.id)["email"] is False
    assert reserve(jane).reason == "opted_out"


def test_who_is_gone_has_no_preferences(workspace):
    with pytest.raises(ContactNotFound):
        preferences_of(workspace.id, ids.uuid7())


def test_a_forged_link_is_refused(workspace, jane):
    token = unsubscribe_token(workspace.id, jane.id, "email", None)

    assert read_unsubscribe_token(token) == (workspace.id, jane.id, "email", None)
    assert read_unsubscribe_token(token.replace("email", "telegram")) is None
    assert read_unsubscribe_token("nothing") is None


def test_a_template_is_not_rendered_for_who_gets_nothing(workspace, jane):
    set_consent(workspace.id, jane, "email", "opted_out")

    assert reserve(jane, a_template(workspace, "{{ contact.firstName }}")).reason == "opted_out"


# Addresses that change on the way ------------------------------------------------------------------------------


def waiting(jane, **more):
    """Return a message that waits for the end of the quiet hours, and let these end."""
    use_channel(jane.workspace, "email", quiet_from=time_of_day(0), quiet_until=time_of_day(23, 59, 59))
    message = a_message(jane, **more)
    assert message.status == Message.Status.QUEUED
    use_channel(jane.workspace, "email", quiet_from=None, quiet_until=None)
    Message.objects.filter(pk=message.pk).update(send_at=message.created_at)
    return message


def test_a_message_goes_to_the_address_of_the_moment_at_which_it_leaves(workspace, jane, sent):  # noqa: F811
    message = waiting(jane)
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "new@example.test"),)))
    remove_identifier(workspace.id, jane, "email", "jane@example.test")
    a_contact(workspace, "jane@example.test")

    deliver_ready(workspace.id, "email")

    assert [message.address for message in sent] == ["new@example.test"]
    message.refresh_from_db()
    assert (message.address, message.status) == ("new@example.test", Message.Status.SENT)


def test_the_policy_is_applied_to_that_address(workspace, jane, sent):  # noqa: F811
    message = waiting(jane)
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "new@example.test"),)))
    suppress(workspace.id, "email", "New@Example。test")

    deliver_ready(workspace.id, "email")

    assert sent == []
    assert decided(message)[-1] == ("not_sent", "suppressed")


def test_a_suppression_of_the_address_before_is_none_of_the_one_after(workspace, jane, sent):  # noqa: F811
    waiting(jane)
    suppress(workspace.id, "email", "jane@example.test")
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "new@example.test"),)))

    deliver_ready(workspace.id, "email")

    assert [message.address for message in sent] == ["new@example.test"]


def test_a_contact_who_lost_the_address_gets_nothing(workspace, jane, sent):  # noqa: F811
    update_contact(workspace.id, jane, ContactChanges(identifiers=(("email", "new@example.test"),)))
    message = waiting(jane, is_transactional=True)
    clear_identifier(workspace.id, jane, "email")

    deliver_ready(workspace.id, "email")

    assert sent == []
    assert decided(message)[-1] == ("not_sent", "no_address")


def test_whoever_is_merged_gets_it_where_the_survivor_is_written_to(workspace, jane, sent):  # noqa: F811
    waiting(jane)
    merge_contacts(workspace.id, a_contact(workspace, "survivor@example.test"), jane)

    deliver_ready(workspace.id, "email")

    assert [message.address for message in sent] == ["survivor@example.test"]


def test_a_test_goes_where_it_was_to_go(workspace, jane, sent):  # noqa: F811
    a_message(jane, is_test=True, address="Boss@Example。test")

    deliver_ready(workspace.id, "email")

    assert [message.address for message in sent] == ["boss@example.test"]


def test_a_test_to_no_address_is_refused(jane):
    with pytest.raises(InvalidAddress):
        reserve(jane, is_test=True, address="Boss <boss@example.test>")


@pytest.mark.parametrize(
    "spelling",
    [
        "JANE@example.test",
        '"jane"@example.test',
        "ja\u00adne@ｅｘａｍｐｌｅ。ｔｅｓｔ.",
        " jane@example.test ",
    ],
)
def test_a_suppression_holds_however_it_is_spelled(workspace, jane, spelling):
    suppress(workspace.id, "email", spelling)

    assert reserve(jane).reason == "suppressed"
    assert unsuppress(workspace.id, "email", spelling)
    assert reserve(jane).deferred_until is None
