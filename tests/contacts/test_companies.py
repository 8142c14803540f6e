import uuid

import pytest

from config.errors import DomainError
from contacts.companies import CompanyResolution, link_companies
from contacts.errors import CompanyNotFound, InvalidFieldValue
from contacts.models import Company, CompanyMembership
from contacts.references import CompanyReference
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


class TestExternalId:
    """A company of another system is found and made by that system's id of it, and follows what it tells."""

    @staticmethod
    def tell(workspace, external_id, **values):
        (result,) = CompanyResolution(
            workspace.id, [CompanyReference(external_id=external_id, **values)]
        ).apply([0])
        assert not isinstance(result, DomainError), result
        company, created = result
        company.refresh_from_db()
        return company, created

    def test_it_is_made_once_and_changed(self, workspace):
        made, created = self.tell(workspace, "g1", name="Acme", size="10", attributes={"plan": "a", "old": 1})
        assert created
        again, created = self.tell(workspace, "g1", name="Acme Inc", attributes={"plan": "b", "old": None})
        assert (again, created) == (made, False)
        assert (again.name, again.size, again.attributes) == ("Acme Inc", "10", {"plan": "b"})
        assert resolve_company(workspace.id, name="ACME INC") == (made, False)

    def test_without_a_name_it_is_called_by_its_id_until_it_has_one(self, workspace):
        made, _ = self.tell(workspace, "g1")
        assert made.name == "g1"
        named, _ = self.tell(workspace, "g1", name="Acme")
        assert named.name == "Acme"
        assert self.tell(workspace, "g1")[0].name == "Acme"

    def test_a_company_known_by_name_becomes_it(self, workspace):
        known, _ = resolve_company(workspace.id, name="Acme", website="https://acme.example")
        company, created = self.tell(workspace, "g1", name="acme", industry="Pumps")
        assert (company, created, company.external_id) == (known, False, "g1")
        assert (company.website, company.industry) == ("https://acme.example", "Pumps")

    def test_two_of_one_name_stay_two(self, workspace):
        first, _ = self.tell(workspace, "g1", name="Acme")
        second, created = self.tell(workspace, "g2", name="ACME")
        assert created
        assert (first.name, second.name) == ("Acme", "ACME (g2)")
        assert self.tell(workspace, "g2", name="ACME")[0] == second
        third, _ = self.tell(workspace, "g3", name="Other")
        assert self.tell(workspace, "g3", name="Acme")[0].name == "Other"
        assert third.name == "Other"

    def test_a_batch_in_order(self, workspace):
        references = [
            CompanyReference(external_id="g1"),
            CompanyReference(external_id="g2", name="Acme"),
            CompanyReference(external_id="g1", name="Acme"),
            CompanyReference(external_id="g1", attributes={"n": 1}),
            CompanyReference(external_id="g1", attributes={"n": 2}),
            CompanyReference(name="acme"),
        ]
        results = CompanyResolution(workspace.id, references).apply(range(len(references)))
        found = [result[0] for result in results if not isinstance(result, DomainError)]
        assert [company.external_id for company in found] == ["g1", "g2", "g1", "g1", "g1", "g2"]
        assert Company.objects.get(external_id="g1").attributes == {"n": 2}
        assert Company.objects.count() == 2

    def test_a_longest_id_fits(self, workspace):
        self.tell(workspace, "g" * 255, name="Acme")
        company, _ = self.tell(workspace, "h" * 255, name="Acme")
        assert len(company.name) == 255
        with pytest.raises(InvalidFieldValue):
            self.tell_raising(workspace, "g" * 256)

    @staticmethod
    def tell_raising(workspace, external_id):
        (result,) = CompanyResolution(workspace.id, [CompanyReference(external_id=external_id)]).apply([0])
        assert isinstance(result, DomainError)
        raise result

    def test_who_knows_it_changes_nothing_costs_one_statement(self, workspace, django_assert_num_queries):
        self.tell(workspace, "g1", name="Acme", attributes={"plan": "a"})
        references = [CompanyReference(external_id="g1", name="Acme", attributes={"plan": "a"})] * 3
        with django_assert_num_queries(1):
            CompanyResolution(workspace.id, references).apply(range(3))

    def test_its_members_are_evaluated_again(self, workspace, monkeypatch):
        told = []
        monkeypatch.setattr("segments.removal.schedule_evaluation", lambda _, contacts: told.extend(contacts))
        company, _ = self.tell(workspace, "g1", name="Acme")
        member = a_contact(workspace)
        link_companies(workspace.id, [(member.id, company.id)])
        self.tell(workspace, "g1", name="Acme")
        assert told == []
        self.tell(workspace, "g1", attributes={"plan": "b"})
        assert told == [member.id]
