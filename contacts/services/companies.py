"""Companies, and who belongs to them."""

from typing import Final
from uuid import UUID

from django.db import connection, transaction

from config import clock
from config.ids import parse_uuid, uuid7
from contacts.errors import CompanyNotFound, InvalidFieldValue
from contacts.models import Company, Contact, company_name_key
from contacts.signals import ContactChange, contacts_changed
from workspaces.models import Workspace


def resolve_company(
    workspace: Workspace,
    *,
    id: object = None,
    name: object = None,
    website: object = "",
    industry: object = "",
    size: object = "",
) -> tuple[Company, bool]:
    """Return the company of this id, else of this name, which is made if there is none; and whether it was.

    One that exists stays as it is. Costs one statement, two where somebody makes the same company in this moment.
    Raises CompanyNotFound, InvalidFieldValue.
    """
    if id not in (None, ""):
        return _company(workspace.id, id), False
    values = {
        "name": _text("name", name, required=True),
        "website": _text("website", website),
        "industry": _text("industry", industry),
        "size": _text("size", size),
    }
    return _find_or_insert(workspace.id, company_name_key(values["name"]), values)


@transaction.atomic(savepoint=False)
def link_company(workspace: Workspace, contact_id: UUID, company_id: UUID) -> None:
    """Note that a contact belongs to a company; if either has just been deleted, nothing happens."""
    with connection.cursor() as cursor:
        cursor.execute(
            _LINK,
            {
                "id": uuid7(),
                "workspace": workspace.id,
                "contact": contact_id,
                "company": company_id,
                "now": clock.now(),
            },
        )
        is_new = bool(cursor.rowcount)
    if is_new:
        change = ContactChange(contact_id, "updated", {}, {"company": str(company_id)})
        contacts_changed.send(sender=Contact, workspace_id=workspace.id, changes=[change])


def _company(workspace_id: UUID, text: object) -> Company:
    company_id = parse_uuid(text)
    companies = Company.objects.filter(workspace_id=workspace_id)
    company = companies.filter(id=company_id).first() if company_id else None
    if company is None:
        raise CompanyNotFound
    return company


def _find_or_insert(workspace_id: UUID, key: str, values: dict[str, str]) -> tuple[Company, bool]:
    new_id = uuid7()
    parameters = {"id": new_id, "workspace": workspace_id, "key": key, "now": clock.now(), **values}
    found = list(Company.objects.raw(_FIND_OR_INSERT, parameters))
    # What another has committed since the statement began is seen by the next one.
    company = found[0] if found else Company.objects.get(workspace_id=workspace_id, name_key=key)
    return company, company.id == new_id


def _text(field: str, value: object, *, required: bool = False) -> str:
    limit = _LIMITS[field]
    text = "" if value is None else value
    if not isinstance(text, str) or "\x00" in text or len(text.strip()) > limit:
        raise InvalidFieldValue(field, f"a text of at most {limit} characters")
    if required and not text.strip():
        raise InvalidFieldValue(field, "given")
    return text.strip()


_LIMITS: Final = {"name": 255, "website": 2048, "industry": 255, "size": 64}

_FIND_OR_INSERT: Final = """
WITH known AS (
    SELECT * FROM contacts_company WHERE workspace_id = %(workspace)s AND name_key = %(key)s
), made AS (
    INSERT INTO contacts_company
        (id, workspace_id, name, name_key, website, industry, size, attributes, created_at, updated_at)
    SELECT %(id)s::uuid, %(workspace)s::uuid, %(name)s, %(key)s, %(website)s, %(industry)s, %(size)s, '{}'::jsonb,
        %(now)s::timestamptz, %(now)s::timestamptz
    WHERE NOT EXISTS (SELECT 1 FROM known)
    ON CONFLICT (workspace_id, name_key) DO NOTHING
    RETURNING *
)
SELECT * FROM known UNION ALL SELECT * FROM made
"""

# The locks keep both from being deleted before the commit checks the foreign keys.
_LINK: Final = """
WITH person AS (
    SELECT id FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = %(contact)s FOR KEY SHARE
), company AS (
    SELECT id FROM contacts_company
    WHERE workspace_id = %(workspace)s AND id = %(company)s FOR KEY SHARE
)
INSERT INTO contacts_companymembership (id, workspace_id, contact_id, company_id, created_at)
SELECT %(id)s, %(workspace)s, person.id, company.id, %(now)s FROM person, company
ON CONFLICT (workspace_id, contact_id, company_id) DO NOTHING
"""
