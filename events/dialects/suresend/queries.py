"""What an answer of this format reads."""

from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Case, Exists, Value, When
from django.db.models.functions import JSONObject

from contacts.errors import ContactNotFound
from contacts.models import CompanyMembership, Contact, ContactTag, Identifier
from contacts.queries import of_person


def person_of(workspace_id: UUID, contact_id: UUID, company_id: UUID | None) -> dict[str, Any]:
    """Return a contact's columns with `known_identifiers`, `known_tags` and whether it `is_member` of the company.

    In one statement: every send asks. Raises ContactNotFound.
    """
    is_own = Case(When(contact_id=contact_id, then=Value(True)), default=Value(False))
    membership = CompanyMembership.objects.filter(workspace_id=workspace_id, contact_id=contact_id)
    identifiers = (
        Identifier.objects.filter(of_person(workspace_id, contact_id), workspace_id=workspace_id)
        .order_by("-is_primary", is_own.desc(), "created_at", "id")
        .values(row=JSONObject(kind="kind", value="value", is_primary="is_primary"))
    )
    tags = (
        ContactTag.objects.filter(of_person(workspace_id, contact_id), workspace_id=workspace_id)
        .order_by("tag__name")
        .values("tag__name")
        .distinct()
    )
    person = (
        Contact.objects.in_workspace(workspace_id)
        .filter(id=contact_id)
        .values(
            "id",
            "first_name",
            "last_name",
            "attributes",
            "created_at",
            "updated_at",
            known_identifiers=ArraySubquery(identifiers),
            known_tags=ArraySubquery(tags),
            is_member=Exists(membership.filter(company_id=company_id)) if company_id else Value(False),
        )
        .first()
    )
    if person is None:
        raise ContactNotFound
    return dict(person)
