"""The requests of the seed, as they stand there, by curl; only the placeholders of the address are filled in."""

import shlex
import subprocess

import pytest

from contacts.crud import create_contact
from contacts.references import ContactChanges
from events.models import Event

BY_UUID = """curl -X POST https://api.leadpush.io/v1/workspaces/:workspace/contacts/:contact/events \\
-H "Content-Type: application/json" \\
-H "Authorization: Bearer {token}" \\
-d '{
  "event_name": "contact.signed_up",
  "attributes": {
    "plan": "pro",
    "source": "api"
  }
}'"""
BY_IDENTITY = """curl -X POST https://api.leadpush.io/v1/workspaces/:workspace/contacts/person@example.com/events \\
-H "Content-Type: application/json" \\
-H "Authorization: Bearer {token}" \\
-d '{
  "event_name": "contact.opened"
}'"""


@pytest.fixture
def contact(server):
    return create_contact(server.workspace, ContactChanges(identifiers=(("email", "person@example.com"),)))


def run(server, command, contact="", key=None):
    """Run the command and return the status and the body."""
    # A shell joins lines at the backslash; shlex keeps the end of the line.
    filled = (
        command.replace("\\\n", "")
        .replace("https://api.leadpush.io", server.url)
        .replace(":workspace", str(server.workspace.id))
        .replace(":contact", str(contact))
        .replace("{token}", server.key if key is None else key)
    )
    arguments = [*shlex.split(filled), "--silent", "--write-out", "\n%{http_code}"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_send_event_by_uuid(server, contact):
    assert run(server, BY_UUID, contact.id) == (204, "")
    event = Event.objects.exclude(source="system").get()
    assert (event.name, event.contact_id) == ("contact.signed_up", contact.id)
    assert event.properties == {"plan": "pro", "source": "api"}


def test_send_event_by_identity(server, contact):
    assert run(server, BY_IDENTITY) == (204, "")
    event = Event.objects.exclude(source="system").get()
    assert (event.name, event.contact_id, event.properties) == ("contact.opened", contact.id, {})


def test_the_documented_refusals(server, contact):
    assert run(server, BY_IDENTITY, key="wrong")[0] == 401
    assert run(server, BY_UUID, "nobody")[0] == 404
    assert run(server, BY_IDENTITY.replace("event_name", "name"))[0] == 422
    assert run(server, BY_IDENTITY.replace('"contact.opened"', '"x", "attributes": [1]'))[0] == 422
    foreign = server.workspace.id
    elsewhere = BY_IDENTITY.replace(
        ":workspace", str(foreign)[:-1] + ("0" if str(foreign)[-1] != "0" else "1")
    )
    assert run(server, elsewhere)[0] == 403
