"""Rows of contacts with the least data."""

from typing import Any
from uuid import UUID

from factory.declarations import SelfAttribute, Sequence, SubFactory
from factory.django import DjangoModelFactory

from config.errors import DomainError
from contacts.companies import CompanyResolution
from contacts.crud import create_contact, update_contact
from contacts.identity.resolution import resolve_contacts
from contacts.models import Company, Contact, Identifier
from contacts.profiles.fields import check_identity_field
from contacts.references import CompanyReference, ContactChanges, ContactReference, Resolution
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace


class CompanyFactory(DjangoModelFactory[Company]):
    class Meta:
        model = Company

    workspace = SubFactory(WorkspaceFactory)
    name = Sequence(lambda n: f"Company {n}")


class ContactFactory(DjangoModelFactory[Contact]):
    """A contact saved as a model, without any identifier."""

    class Meta:
        model = Contact

    workspace = SubFactory(WorkspaceFactory)


class IdentifierFactory(DjangoModelFactory[Identifier]):
    class Meta:
        model = Identifier

    contact = SubFactory(ContactFactory)
    workspace = SelfAttribute("contact.workspace")
    kind = "email"
    value = Sequence(lambda n: f"person{n}@example.test")
    is_primary = True


def a_contact(workspace: Workspace | None = None, email: str = "", **changes: Any) -> Contact:
    """Return a contact made by the service."""
    if email:
        changes["identifiers"] = (("email", email), *changes.get("identifiers", ()))
    return create_contact(workspace or WorkspaceFactory.create(), ContactChanges(**changes))


def by_email(*addresses: str, **options: Any) -> ContactReference:
    """Return a reference to whom the addresses find, made if missing."""
    options.setdefault("if_missing", "create")
    return ContactReference(identifiers=tuple(("email", address) for address in addresses), **options)


def resolved(workspace_id: UUID, *references: ContactReference) -> list[Resolution]:
    """Return the resolutions of references that must all succeed."""
    results = resolve_contacts(workspace_id, references)
    assert all(isinstance(result, Resolution) for result in results), results
    return [result for result in results if isinstance(result, Resolution)]


def tag_contact(workspace_id: UUID, contact: Contact, *tags: str) -> Contact:
    """Add tags to a contact; unknown tags are created."""
    return update_contact(workspace_id, contact, ContactChanges(tags=tags))


def identifier_values(contact: Contact, kind: str) -> list[str]:
    """Return all identifiers of a kind, the primary one first, then the oldest."""
    known = [identifier for identifier in contact.known_identifiers if identifier.kind == kind]
    return [found.value for found in sorted(known, key=lambda found: (not found.is_primary, found.id))]


def resolve_company(workspace_id: UUID, **values: Any) -> tuple[Company, bool]:
    """Return the company that these find, made if missing, and whether it was."""
    (result,) = CompanyResolution(workspace_id, [CompanyReference(**values)]).apply([0])
    if isinstance(result, DomainError):
        raise result
    return result


def set_identity_field(workspace: Workspace, name: str) -> Workspace:
    """Set what names a workspace's contacts, as the admin's form does."""
    check_identity_field(workspace.id, name)
    workspace.identity_field = name
    workspace.save(update_fields=["identity_field"])
    return workspace
