"""What is known of a person beside its address."""

import pytest

from campaigns.messaging.recipients import load_recipients
from tests.contacts.factories import a_contact

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("name", ["Moon/Tranquility", "../etc/passwd", "", 5, None, "Europe"])
def test_a_time_zone_that_is_none_is_as_if_it_were_not_there(workspace, name):
    contact = a_contact(workspace, attributes={"timeZone": name})
    person = load_recipients(workspace.id, [contact.id])[contact.id]
    assert person.time_zone("Europe/Paris").key == "Europe/Paris"
    assert person.time_zone("Moon/Tranquility").key == "UTC"
    assert person.time_zone("\x00").key == "UTC"


def test_a_persons_own_time_zone_is_taken(workspace):
    contact = a_contact(workspace, attributes={"timeZone": "Asia/Tokyo"})
    assert load_recipients(workspace.id, [contact.id])[contact.id].time_zone("UTC").key == "Asia/Tokyo"
