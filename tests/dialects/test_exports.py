"""Files in the layout of the vendors' own exports, imported by the maps that come along."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from contacts.models import Contact
from contacts.queries import with_details
from events.models import Event
from tests.contacts.imports.files import run
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
FILES = Path(__file__).parent / "exports"


@pytest.fixture
def workspace():
    """Return a workspace."""
    return WorkspaceFactory.create()


def contacts(workspace):
    """Return all contacts by their e-mail address."""
    return {contact.email: contact for contact in with_details(Contact.objects.in_workspace(workspace.id))}


def told(contact):
    """Return what is known of a contact."""
    return (
        contact.first_name,
        contact.last_name,
        contact.attributes,
        sorted((known.kind, known.value) for known in contact.known_identifiers),
    )


def imported():
    """Return name, time, key, properties and context of the events, in their order."""
    return [
        (event.name, event.occurred_at, event.message_id, event.properties, event.context)
        for event in Event.objects.filter(source="import").order_by("occurred_at")
    ]


def test_segments_raw_calls(workspace, tmp_path):
    """A file of its S3 destination has calls of all kinds."""
    path = tmp_path / "1706788800000.gz"
    path.write_bytes(gzip.compress((FILES / "segment/raw_calls.jsonl").read_bytes()))
    assert run("import_contacts", path, workspace, map="segment")[1].endswith(
        "5 rows, 1 made, 0 known, 0 refused, 4 left out"
    )
    (ada,) = contacts(workspace).values()
    assert told(ada) == (
        "Ada",
        "Lovelace",
        {"plan": "pro", "address": {"city": "London"}},
        [("anonymous_id", "device-1"), ("email", "ada@x.test"), ("external_id", "u-7")],
    )
    assert run("import_events", path, workspace, map="segment")[1].endswith(
        "5 rows, 2 recorded, 0 repeated, 0 refused, 3 left out"
    )
    assert imported() == [
        (
            "Order Completed",
            datetime(2024, 2, 1, 12, 2, 0, 50_000, tzinfo=UTC),
            "ajs-next-3",
            {"total": 99.5, "products": [{"sku": "A"}]},
            {
                "pageUrl": "https://shop.test/",
                "pageTitle": "Shop",
                "referrer": "https://search.test/",
                "utmSource": "newsletter",
                "utmMedium": "email",
                "utmCampaign": "spring",
                "ipAddress": "192.0.2.1",
                "userAgent": "Mozilla/5.0",
            },
        ),
        ("Order Refunded", datetime(2024, 2, 1, 12, 4, 0, 50_000, tzinfo=UTC), "node-5", {}, {}),
    ]
    assert set(Event.objects.filter(source="import").values_list("contact_id", flat=True)) == {ada.id}


def test_segments_warehouse(workspace):
    """The tables of a PostgreSQL or Redshift, and of BigQuery, whose times end in UTC."""
    assert run("import_contacts", FILES / "segment/identifies.csv", workspace, map="segment")[0] == 0
    (ada,) = contacts(workspace).values()
    assert told(ada) == (
        "Ada",
        "Lovelace",
        {"plan": "pro", "address_city": "London"},
        [("anonymous_id", "device-1"), ("email", "ada@x.test"), ("external_id", "u-7")],
    )
    assert run("import_events", FILES / "segment/order_completed.csv", workspace, map="segment")[0] == 0
    ((name, at, key, properties, context),) = imported()
    assert (name, at, key) == (
        "Order Completed",
        datetime(2024, 2, 1, 12, 2, 0, 50_000, tzinfo=UTC),
        "ajs-next-3",
    )
    assert properties == {"total": "99.5"}
    assert context == {
        "pageUrl": "https://shop.test/",
        "pageTitle": "Shop",
        "referrer": "https://search.test/",
        "utmSource": "newsletter",
        "utmCampaign": "spring",
        "ipAddress": "192.0.2.1",
    }


def test_segments_events_are_the_same_wherever_they_come_from(workspace, tmp_path):
    path = tmp_path / "raw.jsonl"
    path.write_bytes((FILES / "segment/raw_calls.jsonl").read_bytes())
    run("import_events", path, workspace, map="segment")
    out = run("import_events", FILES / "segment/order_completed.csv", workspace, map="segment")[1]
    assert out.endswith("1 rows, 0 recorded, 1 repeated, 0 refused")


def test_omnisends_contacts(workspace):
    assert run("import_contacts", FILES / "omnisend/contacts.csv", workspace, map="omnisend")[0] == 0
    found = contacts(workspace)
    assert told(found["ada@x.test"]) == (
        "Ada",
        "Lovelace",
        {"city": "London", "country": "United Kingdom", "shirtSize": "M"},
        [("email", "ada@x.test"), ("phone", "+4930123456")],
    )
    assert found["ada@x.test"].tag_names == ["vip", "source: shopify"]
    consents = {
        email: {
            known.channel: (known.status, known.changed_at.date().isoformat())
            for known in contact.known_consents
        }
        for email, contact in found.items()
    }
    assert consents == {
        "ada@x.test": {"email": ("opted_in", "2023-05-01")},
        "joan@x.test": {"email": ("opted_out", "2023-06-01"), "sms": ("opted_in", "2022-01-02")},
        "grace@x.test": {},
    }


def test_autosends_contacts(workspace):
    assert run("import_contacts", FILES / "autosend/contacts.jsonl", workspace, map="autosend")[0] == 0
    found = contacts(workspace)
    assert told(found["ada@x.test"])[:3] == ("Ada", "Lovelace", {"plan": "pro"})
    assert (found["ada@x.test"].phone, found["ada@x.test"].consent("email")) == ("+4930123456", None)
    assert (found["joan@x.test"].first_name, found["joan@x.test"].consent("email")) == ("Joan", "opted_out")
