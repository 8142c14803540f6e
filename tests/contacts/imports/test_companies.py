"""Contact files name companies, as events do."""

import json

import pytest

from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Company, CompanyMembership, Contact
from contacts.queries import with_details
from events.models import Event
from events.processing.passes import apply_effects
from segments.models import Membership
from segments.verification import verify_segments
from tests.contacts.factories import CompanyFactory, a_contact
from tests.contacts.imports.files import refused_rows, run
from tests.segments.factories import a_segment, every
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def load(tmp_path, workspace):
    """Return what imports a text."""

    def load(content, into=workspace, **options):
        path = tmp_path / "file"
        path.write_text(content)
        return run("import_contacts", path, into, **options)

    return load


def companies_of(workspace):
    """Return the companies of each contact by its e-mail address."""
    contacts = with_details(Contact.objects.in_workspace(workspace.id).canonical(), companies=True)
    return {
        contact.email: [
            {
                name: value
                for name in ("name", "external_id", "website", "industry", "size", "attributes")
                if (value := getattr(company, name))
            }
            for company in contact.known_companies
        ]
        for contact in contacts
    }


def test_a_row_brings_its_contact_into_a_company_that_is_made_once(workspace, load):
    assert load("Email,Company name\nada@x.test,Mill\njane@x.test, MILL \nno@x.test,\n")[1].startswith(
        "file: 3 rows, 3 made"
    )
    assert companies_of(workspace) == {
        "ada@x.test": [{"name": "Mill"}],
        "jane@x.test": [{"name": "Mill"}],
        "no@x.test": [],
    }
    assert Company.objects.count() == 1


def test_a_company_by_its_id(workspace, load):
    mill = CompanyFactory.create(workspace=workspace, name="Mill")
    load(f"email,company_id\nada@x.test,{mill.id}\n")
    assert companies_of(workspace) == {"ada@x.test": [{"name": "Mill"}]}


@pytest.mark.parametrize(
    ("companies", "cause"),
    [
        ({"company_id": "0190a0a0-0000-7000-8000-000000000000"}, "company"),
        ({"company_name": "x" * 256}, "name"),
        ({"company.website": "https://x.test"}, "name"),
        ({"companies": "Mill"}, "companies"),
        ({"companies": ["Mill"]}, "companies must be a list of objects"),
        ({"companies": [{"name": "Mill", "boss": "x"}]}, "boss"),
        ({"companies": [{"name": "Mill", "attributes": 1}]}, "attributes"),
        ({"companies": [{"name": "Mill"}, {"name": ""}]}, "name"),
    ],
    ids=["unknown", "too long", "nameless", "text", "texts", "unknown part", "no object", "second"],
)
def test_a_row_with_a_company_that_cannot_be_changes_nothing(workspace, load, companies, cause):
    a_contact(workspace, "ada@x.test", first_name="Ada")
    rows = [
        {"email": "ada@x.test", "first_name": "Else", **companies},
        {"email": "jane@x.test", "company_name": "Sound"},
    ]
    assert load("".join(json.dumps(row) + "\n" for row in rows))[0] == 1
    (refused,) = refused_rows()
    assert cause in refused["cause"].lower()
    assert Contact.objects.get(first_name="Ada")
    assert companies_of(workspace) == {"ada@x.test": [], "jane@x.test": [{"name": "Sound"}]}
    assert Company.objects.count() == 1


def test_a_refused_contact_makes_no_company(workspace, load):
    assert load("email,company_name\nnobody,Mill\n")[0] == 1
    assert not Company.objects.exists()


def test_what_else_is_told_of_a_company(workspace, load):
    """Without an id of the other system it makes the company only; with one it is set."""
    load(
        '{"email": "a@x.test", "companies": [{"name": "Mill", "industry": "flour", "attributes": {"a": 1}}]}'
    )
    load('{"email": "b@x.test", "companies": [{"name": "Mill", "industry": "steel"}]}')
    load('{"email": "b@x.test", "companies": [{"name": "Inn", "external_id": "7", "size": "3"}]}')
    load(
        '{"email": "c@x.test", "companies": [{"name": "The Inn", "external_id": "7", "attributes": {"b": 2}}]}'
    )
    mill = {"name": "Mill", "industry": "flour", "attributes": {"a": 1}}
    inn = {"name": "The Inn", "external_id": "7", "size": "3", "attributes": {"b": 2}}
    assert companies_of(workspace) == {"a@x.test": [mill], "b@x.test": [mill, inn], "c@x.test": [inn]}


def test_the_same_file_twice_changes_nothing(workspace, load):
    content = "email,company_name\nada@x.test,Mill\n"
    load(content)
    events = Event.objects.count()
    load(content)
    assert (Event.objects.count(), CompanyMembership.objects.count()) == (events, 1)


@pytest.mark.parametrize("effects", ["scores-and-segments", "all"])
def test_segments_follow(workspace, load, effects):
    a_segment(workspace, every({"type": "company", "field": "name", "operator": "eq", "value": "Mill"}), "m")
    a_contact(workspace, "ada@x.test")
    apply_effects(workspace.id)
    load("email,company_name\nada@x.test,Mill\njane@x.test,Mill\njoe@x.test,Inn\n", effects=effects)
    apply_effects(workspace.id)
    assert Membership.objects.count() == 2
    assert verify_segments(workspace.id).is_sound


def test_of_merged_contacts_the_companies_come_out_as_one(workspace, load, tmp_path):
    one, other = a_contact(workspace, "ada@x.test"), a_contact(workspace, "ada@home.test")
    load("email,company_name\nada@x.test,Mill\nada@home.test,Inn\n")
    merge = merge_contacts(workspace.id, one, other)
    load("email,company_name\nada@home.test,Shop\n")
    assert [company["name"] for company in companies_of(workspace)["ada@x.test"]] == ["Inn", "Mill", "Shop"]
    run("export_contacts", tmp_path / "out.jsonl", workspace)
    again = WorkspaceFactory.create()
    run("import_contacts", tmp_path / "out.jsonl", again)
    assert companies_of(again) == companies_of(workspace)
    undo_merge(workspace.id, merge)
    names = {
        email: {company["name"] for company in found} for email, found in companies_of(workspace).items()
    }
    # What was told of the person meanwhile stays with the survivor.
    assert names == {"ada@x.test": {"Mill", "Shop"}, "ada@home.test": {"Inn"}}


@pytest.mark.parametrize("form", ["csv", "jsonl.gz", "parquet"])
def test_exported_companies_import_again_to_the_same(workspace, load, tmp_path, form):
    rows = [
        {
            "email": "ada@x.test",
            "companies": [
                {
                    "name": 'Mill "&" Söhne',
                    "website": "https://mill.test",
                    "attributes": {"deep": {"a": [1]}},
                },
                {
                    "name": "Inn",
                    "external_id": "7",
                    "industry": "beer",
                    "size": "1-10",
                    "attributes": {"b": 2},
                },
            ],
        },
        {"email": "jane@x.test", "company_name": "Inn"},
        {"email": "joe@x.test"},
    ]
    load("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / f"out.{form}"
    run("export_contacts", path, workspace)
    again = WorkspaceFactory.create()
    assert run("import_contacts", path, again)[0] == 0
    assert companies_of(again) == companies_of(workspace)
    assert len(companies_of(again)["ada@x.test"]) == 2


def test_columns_of_a_company_in_a_table(workspace, load):
    load(
        "email,company.name,company.external_id,company.website\nada@x.test,Mill,c-7,https://mill.test\nb@x.test,,,\n"
    )
    assert companies_of(workspace) == {
        "ada@x.test": [{"name": "Mill", "external_id": "c-7", "website": "https://mill.test"}],
        "b@x.test": [],
    }
