"""The code of before goes on while a newer schema is there: columns, tables and migrations that it does not know."""

from contextlib import closing
from datetime import timedelta

import pytest
from django.apps import apps
from django.db import connection

from campaigns.models import Message
from campaigns.reporting.audit import check_consistency
from config import clock
from config.http import readiness
from contacts.crud import update_contact
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Contact
from contacts.references import ContactChanges
from events.models import EventBatch, ParkedEffect
from scoring.verification import verify_contacts
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, definition, marks, sends, work
from tests.campaigns.messages import deliver_ready
from tests.contacts.factories import tag_contact
from tests.native import NativeClient
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, attribute, did, every
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 6
"""More than it takes until statements are prepared, whose results may not change their columns."""
OURS = ("workspaces", "contacts", "events", "scoring", "segments", "campaigns")


@pytest.fixture
def newer():
    """Return what makes the schema a newer one; in the end it is as it was."""
    tables = sorted({model._meta.db_table for app in OURS for model in apps.get_app_config(app).get_models()})

    def change():
        # Over another connection: over its own the driver would notice.
        other = connection.copy()
        with closing(other), other.cursor() as cursor:
            for table in tables:
                cursor.execute(
                    f"ALTER TABLE {table} ADD COLUMN newer_text text, ADD COLUMN newer_count int NOT NULL DEFAULT 7"
                )
            cursor.execute("CREATE TABLE events_newer (id uuid PRIMARY KEY, workspace_id uuid NOT NULL)")
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('events', '9999_newer', now())"
            )

    yield change
    connection.close()
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(
                f"ALTER TABLE {table} DROP COLUMN IF EXISTS newer_text, DROP COLUMN IF EXISTS newer_count"
            )
        cursor.execute("DROP TABLE IF EXISTS events_newer")
        cursor.execute("DELETE FROM django_migrations WHERE name = '9999_newer'")


class Life:
    """A workspace where a round of everything happens."""

    def __init__(self):
        self.workspace = WorkspaceFactory.create()
        self.client = NativeClient(self.workspace)
        a_rule(self.workspace, "go", 1, did("go", timeWindow="1d"))
        a_segment(self.workspace, every(did("go"), attribute("firstName", "exists")))
        a_campaign(self.workspace, definition(sends(self.workspace), marks()))
        self.rounds = 0

    def process_batches(self):
        """Have new persons come, do things, change, be merged and parted, be written to; one is erased."""
        self.rounds += 1
        contacts = []
        for name in ("ada", "bob", "cyd"):
            body = {"email": f"{name}{self.rounds}@example.test", "firstName": name}
            answer = self.client.post("contacts", body)
            assert answer.status_code == 201, answer.content
            contacts.append(Contact.objects.get(id=answer.json()["id"]))
        ada, bob, cyd = contacts
        single = self.client.post(
            "events", {"type": "go", "contactId": str(ada.id)}, HTTP_IDEMPOTENCY_KEY=str(self.rounds)
        )
        assert single.status_code == 201, single.content
        items = [
            {"type": "go", "contactId": str(one.id), "messageId": f"{self.rounds}-{one.id}"}
            for one in contacts
        ]
        batch = self.client.post("events/batch", {"events": items})
        assert {one["status"] for one in batch.json()["results"]} == {"recorded"}, batch.content
        tag_contact(self.workspace.id, bob, "vip")
        update_contact(self.workspace.id, bob, ContactChanges(last_name="B."))
        merge = merge_contacts(self.workspace.id, ada, bob)
        self.work()
        undo_merge(self.workspace.id, merge)
        erase_person(self.workspace.id, cyd)
        self.work()
        for path in ("contacts", "events", "segments", "campaigns", "messages", f"contacts/{ada.id}"):
            assert self.client.get(path).status_code == 200, path

    def work(self):
        work(self.workspace)
        deliver_ready(self.workspace.id, "email")
        work(self.workspace)


def test_code_from_before_goes_on_while_the_schema_is_a_newer_one(newer):
    life = Life()
    for _ in range(ROUNDS):
        life.process_batches()
    newer()
    for _ in range(2):
        life.process_batches()

    assert not EventBatch.objects.exists()
    assert not ParkedEffect.objects.exists()
    assert set(Message.objects.values_list("status", flat=True)) == {"SENT"}
    inconsistencies = []
    check_consistency(life.workspace.id, now=clock.now(), grace=timedelta(), report=inconsistencies.append)
    assert inconsistencies == []
    assert verify_segments(life.workspace.id).is_sound
    assert verify_contacts(life.workspace.id, list(Contact.objects.values_list("id", flat=True))) == []


def test_migrations_that_the_code_has_not_got_keep_nobody_from_being_ready(newer):
    newer()
    assert readiness.state()["migrations"] == "ok"
