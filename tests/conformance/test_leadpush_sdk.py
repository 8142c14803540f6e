"""The vendor's own Python client, unmodified, over a socket and in process."""

import asyncio

import httpx
import leadpush
import pytest
from django.core.wsgi import get_wsgi_application

from campaigns.models import Message
from contacts.crud import create_contact
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import Event
from workspaces.services import create_workspace


@pytest.fixture(params=["socket", "in process"])
def client(request, server):
    """The client as its documentation makes it: the key, and the base URL of the newer generation."""
    base_url = f"{server.url}/leadpush/v1"
    if request.param == "socket":
        with httpx.Client() as transport:
            yield leadpush.Leadpush(server.key, base_url=base_url, http_client=transport)
        return
    with httpx.Client(transport=httpx.WSGITransport(app=get_wsgi_application())) as transport:
        yield leadpush.Leadpush(server.key, base_url=base_url, http_client=transport)


def test_the_whole_life_of_a_contact(client):
    contact = client.contacts.create(attributes={"email": "Ada@Example.com", "plan": "free"})
    assert contact.subscribed
    assert contact.attributes["email"] == "ada@example.com"
    contact.set_attribute("plan", "pro")
    contact.subscribed = False
    contact.update()
    assert client.contacts.get("ada@example.com").attributes["plan"] == "pro"
    assert not client.contacts.get(contact.uuid).subscribed
    assert contact.subscribe().subscribed
    assert not client.contacts.unsubscribe("ADA@example.com").subscribed
    assert contact.updated_at >= contact.created_at
    assert client.delete(["contacts", contact.uuid]) is None
    with pytest.raises(leadpush.NotFoundError) as refusal:
        client.contacts.get(contact.uuid)
    assert refusal.value.response == {"message": "Not found."}


def test_events_are_sent_and_listed(client):
    contact = client.contacts.create(attributes={"email": "ada@example.com"})
    attributes = {"plan": "pro", "nested": {"list": [1, 2.5, None, True, "é"]}}
    assert contact.events.create(event_name="contact.signed_up", attributes=attributes) is None
    client.contacts.events(" ADA@example.com ").create(event_name="contact.opened")
    first, second = contact.events.list().data
    assert (first.event_name, first.attributes) == ("contact.signed_up", attributes)
    assert (second.event_name, second.attributes) == ("contact.opened", {})
    assert first.created_at <= second.created_at
    assert [event.uuid for event in contact.events.list(search="OPENED").data] == [second.uuid]


def test_cursors_come_to_an_end(client):
    contact = client.contacts.create(attributes={"email": "ada@example.com"})
    for n in range(5):
        contact.events.create(event_name=f"event {n}")
        client.contacts.create(attributes={"email": f"{n}@example.com"})
    assert [event.event_name for event in contact.events.list_all(per_page=2)] == [
        f"event {n}" for n in range(5)
    ]
    assert len(list(contact.events.cursor(per_page=5))) == 1
    assert len(list(client.contacts.list_all(per_page=3))) == 6
    assert [page.meta.current_page for page in client.contacts.cursor(per_page=3)] == [1, 2]


def test_identities_with_awkward_characters_are_found(client):
    for identity in ("team/a@example.test", "a+b@example.test", "q?x=1&y@example.test", "u%2F#@example.test"):
        contact = client.contacts.create(attributes={"email": identity})
        client.contacts.events(identity).create(event_name="x")
        assert len(client.contacts.events(contact.uuid).list().data) == 1
        assert client.contacts.get(identity).uuid == contact.uuid


def test_fields(client):
    field = client.fields.create(name="site", type="text", format={"text": "url"})
    assert (field.name, field.type, field.format.text) == ("site", "text", "url")
    assert client.fields.update(field.uuid, name="home").name == "home"
    assert client.fields.get(field.uuid).name == "home"
    client.fields.create(name="age", type="integer")
    assert [one.name for one in client.fields.list(filters=[{"id": "type", "value": ["integer"]}]).data] == [
        "age"
    ]
    assert [one.name for one in client.fields.list_all(per_page=1)] == ["home", "age"]
    contact = client.contacts.create(attributes={"email": "ada@example.com", "age": 7})
    assert (contact.attributes["age"], contact.attributes["home"]) == (7, None)


def test_emails(client):
    contact = client.contacts.create(attributes={"email": "ada@example.com"})
    send = client.emails.send(
        from_address="Acme <shop@acme.example>",
        subject="Your code",
        html="<p>{{ 482910 }}</p>",
        to=["Ada@example.com", "new@example.com"],
        reply_to="help@acme.example",
        headers={"X-Correlation-ID": "abc-123"},
    )
    assert (send.accepted, send.message_count) == (True, 2)
    assert [(each.recipient, each.type, each.status) for each in send.messages] == [
        ("ada@example.com", "to", "pending"),
        ("new@example.com", "to", "pending"),
    ]
    assert send.messages[0].from_address == "Acme <shop@acme.example>"
    message = Message.objects.get(id=send.messages[0].uuid)
    assert (str(message.contact_id), message.body) == (contact.uuid, "<p>{{ 482910 }}</p>")
    with pytest.raises(leadpush.ValidationError) as refusal:
        client.emails.send(
            from_address="a@b.example", subject="x", text="x", to=["c@d.example"], bcc=["e@f.example"]
        )
    assert list(refusal.value.response["errors"]) == ["bcc"]


def test_suppressions(client):
    made = client.suppressions.create(email="Blocked@example.com", type="bounce")
    assert (made.email, made.type) == ("blocked@example.com", "bounce")
    assert client.suppressions.get(made.uuid).created_at == made.created_at
    client.suppressions.create(email="other@example.com")
    listed = client.suppressions.list(search="block", filters=[{"id": "type", "value": ["bounce"]}])
    assert [each.uuid for each in listed.data] == [made.uuid]
    assert [each.type for each in client.suppressions.list_all(per_page=1)] == ["bounce", "manual"]
    with pytest.raises(leadpush.ValidationError):
        client.emails.send(from_address="a@b.example", subject="x", text="x", to=["blocked@example.com"])


def test_refusals_become_the_clients_exceptions(client):
    contact = client.contacts.create(attributes={"email": "ada@example.com"})
    for identity in ("nobody@example.com", "nobody"):
        with pytest.raises(leadpush.NotFoundError):
            client.contacts.events(identity).create(event_name="x")
    with pytest.raises(leadpush.ValidationError) as refusal:
        contact.events.create(event_name=" ")
    assert refusal.value.response["errors"] == {"event_name": ["The event name field is required."]}
    for attributes in (None, [], "x", 1):
        sent = {"event_name": "x", "attributes": attributes}
        if attributes == []:
            # PHP's empty object.
            contact.events.create(**sent)
            continue
        with pytest.raises(leadpush.ValidationError):
            contact.events.create(**sent)
    with pytest.raises(leadpush.ValidationError):
        client.contacts.create(attributes={"email": "ada@example.com"})
    client._http._api_key = "wrong"
    with pytest.raises(leadpush.UnauthorizedError):
        contact.events.create(event_name="x")


@pytest.fixture
def older_client(server):
    """The client with the seed's own URL."""
    base_url = f"{server.url}/v1/workspaces/{server.workspace.id}"
    with httpx.Client() as transport:
        yield leadpush.Leadpush(server.key, base_url=base_url, http_client=transport)


def test_the_seeds_url_is_called_with_the_workspace_in_the_base(server, older_client):
    contact = create_contact(server.workspace, ContactChanges(identifiers=(("email", "ada@example.com"),)))
    older_client.contacts.events(str(contact.id)).create(event_name="x", attributes={"plan": "pro"})
    older_client.contacts.events("ADA@example.com").create(event_name="y")
    listed = older_client.contacts.events("ada@example.com").list_all()
    assert [event.event_name for event in listed] == ["x", "y"]
    assert [one.uuid for one in older_client.contacts.list_all()] == [str(contact.id)]
    foreign = create_contact(create_workspace("Others"), ContactChanges(first_name="Eve"))
    with pytest.raises(leadpush.ForbiddenError) as refusal:
        older_client.contacts.events(str(foreign.id)).create(event_name="x")
    assert refusal.value.response == {"message": "This action is unauthorized."}


def test_the_asynchronous_client(server):
    async def talk():
        async with httpx.AsyncClient() as transport:
            base_url = f"{server.url}/leadpush/v1"
            client = leadpush.AsyncLeadpush(server.key, base_url=base_url, http_client=transport)
            contact = await client.contacts.create(attributes={"email": "ada@example.com"})
            await contact.events.create(event_name="x", attributes={"a": 1})
            return [event.event_name async for event in contact.events.list_all()]

    assert asyncio.run(talk()) == ["x"]
    assert Event.objects.filter(name="x").get().contact_id == Contact.objects.get().id
