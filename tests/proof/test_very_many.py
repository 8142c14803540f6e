"""No statement's parameters grow with the data: PostgreSQL takes 65,535. The suite counts those of every test."""

import pytest
from django.db import connection

from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Contact, ContactTag, ErasedIdentifier, Identifier, Tag
from tests import conftest
from tests.contacts.factories import a_contact
from tests.scale import TIMES
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
MANY = 3_000 if TIMES == 1 else 70_000


@pytest.fixture
def workspace():
    return WorkspaceFactory()


def run(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def test_a_statement_with_too_many_is_found():
    places = ", ".join(["%s"] * (conftest.MOST_PARAMETERS + 1))
    run(f"SELECT 1 WHERE 1 IN ({places})", *range(conftest.MOST_PARAMETERS + 1))
    assert len(conftest._overfull) == 1
    conftest._overfull.clear()


def test_somebody_with_very_many_identifiers_is_erased(workspace):
    contact = a_contact(workspace, "many@example.test")
    run(
        "INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)"
        " SELECT gen_random_uuid(), %s, %s, 'anonymous_id', 'browser ' || n, false, now()"
        " FROM generate_series(1, %s) n",
        *(workspace.id, contact.id, MANY),
    )
    receipt = erase_person(workspace.id, contact)
    assert receipt.removed["identifiers"] == MANY + 1
    # Those, and the contact's id, by which an export would bring it back.
    assert ErasedIdentifier.objects.count() == MANY + 2
    assert not Identifier.objects.exists()


def test_somebody_who_very_many_were_merged_into_is_merged_and_parted(workspace):
    kept, gone = (a_contact(workspace, f"{name}@example.test") for name in ("kept", "gone"))
    run(
        "WITH follower AS (INSERT INTO contacts_contact"
        " (id, workspace_id, first_name, last_name, attributes, merged_into_id, created_at, updated_at)"
        " SELECT gen_random_uuid(), %s, '', '', '{}', %s, now(), now() FROM generate_series(1, %s) n RETURNING id)"
        " INSERT INTO contacts_merge (id, workspace_id, survivor_id, merged_id, restores, followers, by, merged_at,"
        " done, finished_at) SELECT gen_random_uuid(), %s, %s, id, '{}', '{}', '', now(), 0, now() FROM follower",
        *(workspace.id, gone.id, MANY, workspace.id, gone.id),
    )
    merge = merge_contacts(workspace.id, kept, gone)
    assert Contact.objects.filter(merged_into=kept).count() == MANY + 1
    undo_merge(workspace.id, merge)
    assert Contact.objects.filter(merged_into=gone).count() == MANY


def test_what_very_many_hang_on_is_deleted(workspace):
    tag = Tag.objects.create(workspace=workspace, name="many")
    run(
        "WITH one AS (INSERT INTO contacts_contact"
        " (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)"
        " SELECT gen_random_uuid(), %s, '', '', '{}', now(), now() FROM generate_series(1, %s) n RETURNING id)"
        " INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)"
        " SELECT gen_random_uuid(), %s, id, %s, now() FROM one",
        *(workspace.id, MANY, workspace.id, tag.id),
    )
    Tag.objects.filter(id=tag.id).delete()
    assert not ContactTag.objects.exists()
