import pytest

from contacts.crud import upsert_contact
from contacts.errors import (
    FieldNameTaken,
    FieldNotFound,
    IdentityFieldLocked,
    InvalidFieldFormat,
    InvalidFieldName,
    InvalidFieldType,
    InvalidFieldValue,
    InvalidIdentifier,
    InvalidIdentityField,
)
from contacts.profiles.fields import create_field, find_field, update_field
from contacts.references import ContactChanges
from tests.contacts.factories import a_contact, set_identity_field
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


def test_names_are_unique_in_the_workspace(workspace):
    create_field(workspace.id, "plan", "text")
    with pytest.raises(FieldNameTaken):
        create_field(workspace.id, " plan ", "integer")
    create_field(WorkspaceFactory.create().id, "plan", "text")


@pytest.mark.parametrize(
    "name", ["", "  ", "id", "UUID", "created_at", "email", "x" * 65, "a\x00", None, 5, []]
)
def test_names_that_are_refused(workspace, name):
    with pytest.raises(InvalidFieldName):
        create_field(workspace.id, name, "text")


@pytest.mark.parametrize("type", ["", "string", None, 5, [], {}])
def test_types_that_are_refused(workspace, type):
    with pytest.raises(InvalidFieldType):
        create_field(workspace.id, "plan", type)


@pytest.mark.parametrize(
    ("type", "format"),
    [
        ("text", {"text": "regex"}),
        ("text", {"text": "regex", "pattern": ""}),
        ("text", {"text": "regex", "pattern": "("}),
        ("text", {"text": "regex", "pattern": 5}),
        ("text", {"text": "regex", "pattern": r"(a)\1"}),
        ("text", {"text": "email", "pattern": "a"}),
        ("text", {"text": "iban"}),
        ("text", {"text": []}),
        ("integer", {"text": "email"}),
        ("text", "email"),
    ],
)
def test_formats_that_are_refused(workspace, type, format):
    with pytest.raises(InvalidFieldFormat):
        create_field(workspace.id, "plan", type, format)


@pytest.mark.parametrize(
    ("type", "format", "given", "stored"),
    [
        ("text", None, "pro", "pro"),
        ("text", None, 5, "5"),
        ("text", {"text": "email"}, "a@example.test", "a@example.test"),
        ("text", {"text": "url"}, "https://example.test/", "https://example.test/"),
        ("text", {"text": "regex", "pattern": "^A-[0-9]+$"}, "A-12", "A-12"),
        ("integer", None, 5, 5),
        ("integer", None, "5", 5),
        ("integer", None, 5.0, 5),
        ("boolean", None, "TRUE", True),
        ("boolean", None, 0, False),
        ("date", None, "2026-02-28", "2026-02-28"),
        ("datetime", None, "2026-02-28T12:00:00+02:00", "2026-02-28T10:00:00.000Z"),
        ("datetime", None, "2026-02-28", "2026-02-28T00:00:00.000Z"),
    ],
)
def test_values_are_stored_in_their_type(workspace, type, format, given, stored):
    create_field(workspace.id, "plan", type, format)
    kept = a_contact(workspace, attributes={"plan": given, "free": [given]}).attributes
    assert kept == {"plan": stored, "free": [given]}
    assert kept["plan"] is stored or kept["plan"] == stored


@pytest.mark.parametrize(
    ("type", "format", "given"),
    [
        ("text", None, True),
        ("text", None, ["a"]),
        ("text", {"text": "email"}, "jane"),
        ("text", {"text": "uuid"}, "jane"),
        ("text", {"text": "url"}, "javascript:alert(1)"),
        ("text", {"text": "url"}, "http://["),
        ("text", {"text": "regex", "pattern": "^A-[0-9]+$"}, "B-12"),
        ("integer", None, "5.5"),
        ("integer", None, 5.5),
        ("integer", None, True),
        ("integer", None, 2**63),
        ("integer", None, "9" * 5000),
        ("boolean", None, "yes"),
        ("boolean", None, 2),
        ("date", None, "2026-02-30"),
        ("date", None, 20260228),
        ("datetime", None, "tomorrow"),
        ("datetime", None, "0001-01-01T00:00:00+23:00"),
        ("datetime", None, "9999-12-31T23:59:59-23:00"),
    ],
)
def test_values_that_are_refused(workspace, type, format, given):
    create_field(workspace.id, "plan", type, format)
    with pytest.raises(InvalidFieldValue) as refused:
        a_contact(workspace, attributes={"plan": given})
    assert refused.value.field == "plan"


def test_the_type_stays(workspace):
    field = create_field(workspace.id, "plan", "text")
    create_field(workspace.id, "size", "text")
    assert update_field(workspace, field, name="tier", format={"text": "email"}).name == "tier"
    assert find_field(workspace.id, str(field.id)).format == {"text": "email"}
    with pytest.raises(FieldNameTaken):
        update_field(workspace, field, name="size")
    for text in ("nothing", "", None, str(workspace.id)):
        with pytest.raises(FieldNotFound):
            find_field(workspace.id, text)


def test_only_a_text_or_an_integer_names_contacts(workspace):
    create_field(workspace.id, "birthday", "date")
    create_field(workspace.id, "customer_no", "integer")
    for name in ("birthday", "first_name", "last_name", "nothing", ""):
        with pytest.raises(InvalidIdentityField):
            set_identity_field(workspace, name)
    for name in ("phone", "email", "customer_no"):
        assert set_identity_field(workspace, name).identity_field == name


def test_the_identity_field_is_locked_by_the_first_contact(workspace):
    a_contact(workspace)
    set_identity_field(workspace, "email")
    with pytest.raises(IdentityFieldLocked):
        set_identity_field(workspace, "phone")


def test_an_identity_value_fits_its_field(workspace):
    create_field(workspace.id, "customer_no", "integer")
    set_identity_field(workspace, "customer_no")
    with pytest.raises(InvalidFieldValue):
        upsert_contact(workspace.id, "customer_no", "twelve", ContactChanges())
    with pytest.raises(InvalidIdentifier):
        upsert_contact(workspace.id, "customer_no", "", ContactChanges())
    made, _ = upsert_contact(
        workspace.id, "customer_no", " 12 ", ContactChanges(attributes={"customer_no": 12})
    )
    assert made.attributes == {"customer_no": 12}
    assert made.identifier("customer_no") == "12"
