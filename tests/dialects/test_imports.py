"""The maps that come along read what each vendor gives out."""

from datetime import UTC, datetime

import pytest
from django.conf import settings

from config.files.mapping import load_mapping
from contacts.imports.fields import CONTACT_FIELDS, contact_row
from events.imports.fields import EVENT_FIELDS, incoming_event

VENDORS = sorted(path.parent.name for path in settings.IMPORT_MAPS.glob("*/imports.yaml"))
NOON = datetime(2024, 2, 1, 12, tzinfo=UTC)
CONTACTS = {
    "leadpush": {
        "uuid": "u1",
        "subscribed": True,
        "attributes": {"email": "a@x.test", "first_name": "Ada", "plan": "pro"},
    },
    "campaignos": {"id": "u1", "email": "a@x.test", "firstName": "Ada", "tags": [{"id": "1", "name": "vip"}]},
    "autosend": {"id": "u1", "email": "a@x.test", "firstName": "Ada", "customFields": {"plan": "pro"}},
    "suresend": {"id": "u1", "firstName": "Ada", "emails": [{"value": "a@x.test"}], "tags": ["vip"]},
    "omnisend": {"contactID": "u1", "email": "a@x.test", "firstName": "Ada", "status": "nonSubscribed"},
    "segment": {
        "id": "m1",
        "anonymous_id": "u1",
        "email": "a@x.test",
        "first_name": "Ada",
        "plan": "pro",
        "context_ip": "::1",
    },
}
EVENTS = {
    "leadpush": {
        "uuid": "m1",
        "event_name": "bought",
        "attributes": {"a": 1},
        "created_at": "2024-02-01T12:00:00.000Z",
        "contact": "u1",
    },
    "campaignos": {
        "id": "m1",
        "type": "bought",
        "metadata": {"a": 1},
        "timestamp": "2024-02-01T12:00:00.000Z",
        "contact": {"id": "u1", "email": "a@x.test"},
    },
    "autosend": {
        "id": "m1",
        "eventName": "bought",
        "contactId": "u1",
        "properties": {"a": 1},
        "createdAt": "2024-02-01T12:00:00.000Z",
    },
    "suresend": {
        "id": "m1",
        "type": "bought",
        "personId": "u1",
        "metadata": {"a": 1},
        "occurredAt": "2024-02-01T12:00:00Z",
    },
    "omnisend": {
        "eventID": "m1",
        "eventName": "bought",
        "contactID": "u1",
        "properties": {"a": 1},
        "eventTime": "2024-02-01T12:00:00Z",
    },
    "segment": {
        "id": "m1",
        "event": "bought",
        "event_text": "bought",
        "anonymous_id": "u1",
        "timestamp": "2024-02-01 12:00:00.000 UTC".replace(" UTC", "Z"),
        "a": 1,
        "context_ip": "::1",
        "context_page_url": "https://x.test",
    },
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_contact(vendor):
    mapping = load_mapping(CONTACT_FIELDS, settings.IMPORT_MAPS / vendor / "imports.yaml", "contacts")
    reference = contact_row(mapping, CONTACTS[vendor]).contact
    assert {("email", "a@x.test"), ("anonymous_id", "u1")} <= set(reference.identifiers)
    assert reference.changes.first_name == "Ada"
    assert "context_ip" not in reference.changes.attributes


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_event(vendor):
    mapping = load_mapping(EVENT_FIELDS, settings.IMPORT_MAPS / vendor / "imports.yaml", "events")
    event = incoming_event(mapping, EVENTS[vendor], "key")
    assert (event.name, event.occurred_at, event.message_id, event.properties) == (
        "bought",
        NOON,
        "m1",
        {"a": 1},
    )
    assert event.contact is not None
    assert ("anonymous_id", "u1") in event.contact.identifiers
