import uuid

import pytest

from contacts.companies import link_companies
from contacts.errors import CompanyNotFound, InvalidFieldValue
from contacts.models import CompanyMembership
from tests.contacts.factories import CompanyFactory, a_contact, resolve_company

pytestmark = pytest.mark.django_db


def test_a_company_is_found_whatever_the_case_of_its_name(workspace):
    made, created = resolve_company(
        workspace.id,
        name=" Acme  Corporation",
        website="https://acme.example",
        industry="Technology",
        size="51-200",
    )
    assert created
    assert (made.website, made.industry, made.size) == ("https://acme.example", "Technology", "51-200")
    again, created = resolve_company(workspace.id, name="ACME CORPORATION", website="https://other.example")
    assert not created
    assert again == made
    assert again.website == "https://acme.example"


def test_an_id_wins_and_must_exist(workspace):
    company = CompanyFactory.create(workspace=workspace)
    assert resolve_company(workspace.id, id=str(company.id), name="Other") == (company, False)
    unknowns: list[object] = ["nothing", str(uuid.uuid4()), str(CompanyFactory.create().id), 5, []]
    for unknown in unknowns:
        with pytest.raises(CompanyNotFound):
            resolve_company(workspace.id, id=unknown, name=company.name)


@pytest.mark.parametrize(
    "values",
    [
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": "x" * 256},
        {"name": "A", "size": "x" * 65},
        {"name": "\x00"},
    ],
)
def test_bad_values_are_refused(workspace, values):
    with pytest.raises(InvalidFieldValue):
        resolve_company(workspace.id, **values)


def test_a_contact_is_linked_once(workspace):
    contact, company = a_contact(workspace), CompanyFactory.create(workspace=workspace)
    for _ in range(2):
        link_companies(workspace.id, [(contact.id, company.id)])
    link_companies(workspace.id, [(a_contact().id, company.id)])
    link_companies(workspace.id, [(contact.id, CompanyFactory.create().id)])
    assert list(CompanyMembership.objects.values_list("contact", "company")) == [(contact.id, company.id)]
