"""What each kind of call records."""

import pytest

from contacts.models import Company, CompanyMembership, Contact, Identifier
from events.models import Event


def sent_events(workspace):
    return list(Event.objects.filter(workspace=workspace, source="api").order_by("id"))


def identifiers(contact):
    return {(row.kind, row.value) for row in Identifier.objects.filter(contact=contact)}


def test_identify_sets_traits(send, workspace):
    traits = {
        "email": "Ada@Example.com",
        "phone": "+15551234567",
        "firstName": "Ada",
        "lastName": "Lovelace",
        "address": {"city": "London"},
        "plan": "pro",
    }
    send("identify", {"userId": "u1", "anonymousId": "a1", "traits": traits})
    contact = Contact.objects.get(workspace=workspace)
    assert identifiers(contact) == {
        ("external_id", "u1"),
        ("anonymous_id", "a1"),
        ("email", "ada@example.com"),
        ("phone", "+15551234567"),
    }
    assert (contact.first_name, contact.last_name) == ("Ada", "Lovelace")
    assert contact.attributes == {"address": {"city": "London"}, "plan": "pro"}
    (event,) = sent_events(workspace)
    assert (event.name, event.properties, event.contact_id) == ("identify", traits, contact.id)
    send("identify", {"userId": "u1", "traits": {"plan": None, "email": "", "age": 36}})
    contact.refresh_from_db()
    assert contact.attributes == {"address": {"city": "London"}, "age": 36}
    assert ("email", "ada@example.com") in identifiers(contact)


@pytest.mark.parametrize(
    ("traits", "names"),
    [
        ({"name": "Ada King Lovelace"}, ("Ada", "King Lovelace")),
        ({"name": "Ada"}, ("Ada", "")),
        ({"first_name": "Ada", "last_name": "Lovelace"}, ("Ada", "Lovelace")),
        ({"firstname": "Ada", "lastName": None}, ("Ada", "")),
    ],
)
def test_spellings_of_names(send, workspace, traits, names):
    send("identify", {"userId": "u1", "traits": traits})
    contact = Contact.objects.get(workspace=workspace)
    assert (contact.first_name, contact.last_name) == names
    assert contact.attributes == {}


@pytest.mark.parametrize("kind", ["identify", "track", "page", "screen"])
def test_traits_in_the_context_are_the_contacts_too(send, workspace, kind):
    context = {"traits": {"email": "ada@example.com", "plan": "pro"}}
    send(kind, {"userId": "u1", "event": "Paid", "context": context})
    contact = Contact.objects.get(workspace=workspace)
    assert contact.attributes == {"plan": "pro"}
    assert ("email", "ada@example.com") in identifiers(contact)


def test_track_keeps_properties_and_context(send, workspace):
    context = {
        "ip": "203.0.113.5",
        "userAgent": "Mozilla",
        "locale": "en-US",
        "page": {"url": "https://shop.example/a", "title": "A", "referrer": "", "path": "/a"},
        "campaign": {"name": "spring", "source": "news", "medium": "email"},
    }
    send(
        "track", {"userId": 7, "event": " Order Completed ", "properties": {"total": 9.5}, "context": context}
    )
    (event,) = sent_events(workspace)
    assert (event.name, event.properties) == ("Order Completed", {"total": 9.5})
    assert event.context == {
        "ipAddress": "203.0.113.5",
        "userAgent": "Mozilla",
        "locale": "en-US",
        "pageUrl": "https://shop.example/a",
        "pageTitle": "A",
        "utmCampaign": "spring",
        "utmSource": "news",
        "utmMedium": "email",
    }
    assert identifiers(event.contact) == {("external_id", "7")}


@pytest.mark.parametrize(
    ("kind", "name", "event_name"),
    [
        ("page", "Pricing", "Viewed Pricing Page"),
        ("page", None, "Loaded a Page"),
        ("screen", "Home", "Viewed Home Screen"),
        ("screen", "", "Loaded a Screen"),
    ],
)
def test_a_view_is_named_as_in_destinations(send, workspace, kind, name, event_name):
    send(kind, {"anonymousId": "a1", "name": name, "category": "Docs", "properties": {"url": "x"}})
    (event,) = sent_events(workspace)
    assert event.name == event_name
    assert event.properties == {"url": "x", "category": "Docs", **({"name": name} if name else {})}


def test_a_long_title_is_a_name_too(send, workspace):
    send("page", {"anonymousId": "a1", "name": "x" * 1_000})
    (event,) = sent_events(workspace)
    assert len(event.name) <= 255
    assert event.properties["name"] == "x" * 1_000


def test_group_makes_a_company_and_later_changes_it(send, workspace):
    send("group", {"userId": "u1", "groupId": "acct-1"})
    traits = {
        "name": "Acme",
        "employees": 10,
        "industry": "Pumps",
        "website": "https://acme.example",
        "plan": "b",
    }
    send("group", {"userId": "u2", "groupId": "acct-1", "traits": traits})
    company = Company.objects.get(workspace=workspace)
    assert (company.external_id, company.name, company.size) == ("acct-1", "Acme", "10")
    assert (company.industry, company.website) == ("Pumps", "https://acme.example")
    assert company.attributes == {"plan": "b"}
    assert CompanyMembership.objects.filter(company=company).count() == 2
    first, second = sent_events(workspace)
    assert first.properties == {"groupId": "acct-1"}
    assert second.properties == {**traits, "groupId": "acct-1"}
    assert first.company_id == second.company_id == company.id


def test_a_group_is_described_without_a_user(send, workspace):
    send("group", {"groupId": "acct-1", "traits": {"name": "Acme"}})
    assert Company.objects.get(workspace=workspace).name == "Acme"
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    ("integrations", "count"),
    [
        (None, 1),
        ({}, 1),
        ({"All": True}, 1),
        ({"Segment.io": True}, 1),
        ({"All": False}, 0),
        ({"All": False, "Mixpanel": True}, 0),
        ({"All": False, "Segment.io": True}, 1),
        ({"All": False, "Segment.io": {"apiHost": "x"}}, 1),
        ({"All": False, "Segment.io": False}, 0),
        ({"Segment.io": True, "Headrace": False}, 0),
        ({"All": False, "Headrace": True}, 1),
        ({"All": False, "Headrace": {"x": 1}}, 1),
        ({"All": True, "Headrace": False}, 0),
    ],
)
def test_integrations_may_leave_us_out(send, workspace, integrations, count):
    send("track", {"userId": "u1", "event": "Paid", "integrations": integrations})
    assert len(sent_events(workspace)) == count


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        ("track", {"event": "Paid"}, "userId"),
        ("track", {"event": "Paid", "userId": "", "anonymousId": None}, "userId"),
        ("track", {"userId": "u1"}, "event"),
        ("track", {"userId": "u1", "event": " "}, "event"),
        ("track", {"userId": "u1", "event": "e" * 256}, "event"),
        ("track", {"userId": "u1", "event": "Paid", "properties": []}, "properties"),
        ("track", {"userId": True, "event": "Paid"}, "userId"),
        ("track", {"userId": "u" * 513, "event": "Paid"}, "userId"),
        ("track", {"userId": "u1", "event": "Paid", "timestamp": "yesterday"}, "timestamp"),
        ("track", {"userId": "u1", "event": "Paid", "timestamp": 1}, "timestamp"),
        ("track", {"userId": "u1", "event": "Paid", "messageId": "m" * 300}, "message"),
        ("identify", {"userId": "u1", "traits": {"email": "nobody"}}, "traits.email"),
        ("identify", {"userId": "u1", "traits": "x"}, "traits"),
        ("identify", {"userId": "u1", "context": {"traits": {"email": "nobody"}}}, "context.traits.email"),
        ("identify", {"userId": "u1", "traits": {"firstName": 5}}, "first_name"),
        ("group", {"userId": "u1"}, "groupId"),
        ("group", {"userId": "u1", "groupId": "g", "traits": {"name": 5}}, "name"),
        ("alias", {"userId": "u1"}, "previousId"),
        ("alias", {"previousId": "a1"}, "userId"),
    ],
)
def test_what_a_call_lacks_is_refused_by_its_name(post, workspace, kind, body, field):
    answer = post(kind, body)
    assert answer.status_code == 400
    refusal = answer.json()
    assert refusal["success"] is False
    assert field in refusal["message"], refusal
    assert refusal["code"]
    assert not sent_events(workspace)
    assert not Contact.objects.exists()


@pytest.mark.parametrize("prefix", ["/v1", "/segment/v1"])
@pytest.mark.parametrize("kind", ["track", "t", "track/"])
def test_addresses(send, workspace, prefix, kind):
    send(f"{prefix}/{kind}", {"userId": "u1", "event": "Paid"})
    assert [event.name for event in sent_events(workspace)] == ["Paid"]


def test_too_many_properties_are_refused(post, workspace, settings):
    settings.MAX_KEYS = 50
    answer = post("track", {"userId": "u1", "event": "Paid", "properties": {f"k{n}": n for n in range(51)}})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_properties")
    assert not sent_events(workspace)
