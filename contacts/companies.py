"""Companies and their contacts: resolution of references, and memberships."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from config import clock
from config.db.statements import fetch_all
from config.errors import DomainError, TryAgain
from config.ids import parse_uuid, uuid7
from contacts.errors import CompanyNotFound, InvalidFieldValue
from contacts.models import Company, Contact, company_name_key
from contacts.references import CompanyReference
from contacts.signals import ContactChange, contacts_changed

ResolvedCompany = tuple[Company, bool]
"""A company, and whether this call made it."""


class CompanyResolution:
    """Resolution of a batch of company references: looked up in one statement; `apply` creates missing ones.

    One that exists stays as it is. Costs one statement where all exist, up to two more where some are made.
    """

    def __init__(self, workspace_id: UUID, references: Sequence[CompanyReference]) -> None:
        self._workspace_id = workspace_id
        self._wanted = [_parse(reference) for reference in references]
        ids = {each for each in self._wanted if isinstance(each, UUID)}
        keys = {company_name_key(each["name"]) for each in self._wanted if isinstance(each, dict)}
        self._by_id: dict[UUID, Company] = {}
        self._by_key: dict[str, Company] = {}
        if ids or keys:
            self._add(Company.objects.in_workspace(workspace_id).filter(Q(id__in=ids) | Q(name_key__in=keys)))

    @property
    def refusals(self) -> list[DomainError | None]:
        """The error of each reference that is invalid, None for the others; nothing is written yet."""
        return [
            each
            if isinstance(each, DomainError)
            else CompanyNotFound()
            if isinstance(each, UUID) and each not in self._by_id
            else None
            for each in self._wanted
        ]

    def apply(self, places: Sequence[int]) -> list[ResolvedCompany | DomainError]:
        """Create the missing companies of the references at `places`."""
        missing: dict[str, dict[str, str]] = {}
        for place in places:
            values = self._wanted[place]
            if isinstance(values, dict) and (key := company_name_key(values["name"])) not in self._by_key:
                missing.setdefault(key, values)
        made = self._make(missing) if missing else set()
        refusals = self.refusals
        return [refusals[place] or self._resolved(place, made) for place in places]

    def _resolved(self, place: int, made: set[UUID]) -> ResolvedCompany:
        """Return the company at a place; the first of its references has made it."""
        wanted = self._wanted[place]
        if isinstance(wanted, UUID):
            return self._by_id[wanted], False
        assert isinstance(wanted, dict)  # noqa: S101  (anything else is among the refusals)
        company = self._by_key[company_name_key(wanted["name"])]
        is_made = company.id in made
        made.discard(company.id)
        return company, is_made

    def _make(self, missing: dict[str, dict[str, str]]) -> set[UUID]:
        """Insert companies by their keys; return the ids of those that nobody else has made meanwhile."""
        rows = [(uuid7(), key, values) for key, values in sorted(missing.items())]
        parameters = {
            "workspace": self._workspace_id,
            "now": clock.now(),
            "ids": [id_ for id_, _, _ in rows],
            "keys": [key for _, key, _ in rows],
            **{f"{name}s": [values[name] for _, _, values in rows] for name in _LIMITS},
        }
        self._add(Company.objects.raw(_INSERT, parameters))
        if left := missing.keys() - self._by_key.keys():
            # What another has committed since the statement began is seen by the next one.
            self._add(Company.objects.in_workspace(self._workspace_id).filter(name_key__in=left))
        if missing.keys() - self._by_key.keys():
            raise TryAgain
        return {id_ for id_, key, _ in rows if self._by_key[key].id == id_}

    def _add(self, companies: Collection[Company]) -> None:
        for company in companies:
            self._by_id[company.id] = company
            self._by_key[company.name_key] = company


@transaction.atomic(savepoint=False)
def link_companies(workspace_id: UUID, pairs: Collection[tuple[UUID, UUID]]) -> None:
    """Link (contact, company) pairs; a company that was just deleted is skipped."""
    rows = sorted(set(pairs))
    new = fetch_all(
        _LINK,
        {
            "ids": [uuid7() for _ in rows],
            "workspace": workspace_id,
            "contacts": [contact_id for contact_id, _ in rows],
            "companies": [company_id for _, company_id in rows],
            "now": clock.now(),
        },
    )
    changes = [
        ContactChange(contact_id, "updated", {}, {"company": str(company_id)})
        for contact_id, company_id in new
    ]
    if changes:
        contacts_changed.send(sender=Contact, workspace_id=workspace_id, changes=changes)


def _parse(reference: CompanyReference) -> UUID | dict[str, str] | DomainError:
    """Return the id, or the values by field, or what is wrong with them."""
    if reference.id not in (None, ""):
        return parse_uuid(reference.id) or CompanyNotFound()
    try:
        return {
            "name": _text("name", reference.name, required=True),
            "website": _text("website", reference.website),
            "industry": _text("industry", reference.industry),
            "size": _text("size", reference.size),
        }
    except InvalidFieldValue as error:
        return error


def _text(field: str, value: object, *, required: bool = False) -> str:
    limit = _LIMITS[field]
    text = "" if value is None else value
    if not isinstance(text, str) or "\x00" in text or len(text.strip()) > limit:
        raise InvalidFieldValue(field, f"a text of at most {limit} characters")
    if required and not text.strip():
        raise InvalidFieldValue(field, "given")
    return text.strip()


_LIMITS: Final = {"name": 255, "website": 2048, "industry": 255, "size": 64}

_INSERT: Final = """
INSERT INTO contacts_company
    (id, workspace_id, name, name_key, website, industry, size, attributes, created_at, updated_at)
SELECT id, %(workspace)s, name, key, website, industry, size, '{}'::jsonb, %(now)s, %(now)s
FROM unnest(
    %(ids)s::uuid[], %(names)s::varchar[], %(keys)s::varchar[], %(websites)s::varchar[],
    %(industrys)s::varchar[], %(sizes)s::varchar[]
) AS new (id, name, key, website, industry, size)
ORDER BY key
ON CONFLICT (workspace_id, name_key) DO NOTHING
RETURNING *
"""

# The locks keep both from being deleted before the commit checks the foreign keys.
_LINK: Final = """
WITH pair AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(contacts)s::uuid[], %(companies)s::uuid[])
        AS new (id, contact_id, company_id)
), person AS (
    SELECT id FROM contacts_contact
    WHERE workspace_id = %(workspace)s AND id = ANY(%(contacts)s::uuid[]) ORDER BY id FOR KEY SHARE
), company AS (
    SELECT id FROM contacts_company
    WHERE workspace_id = %(workspace)s AND id = ANY(%(companies)s::uuid[]) ORDER BY id FOR KEY SHARE
)
INSERT INTO contacts_companymembership (id, workspace_id, contact_id, company_id, created_at)
SELECT pair.id, %(workspace)s, pair.contact_id, pair.company_id, %(now)s
FROM pair JOIN person ON person.id = pair.contact_id JOIN company ON company.id = pair.company_id
ORDER BY pair.contact_id, pair.company_id
ON CONFLICT (workspace_id, contact_id, company_id) DO NOTHING
RETURNING contact_id, company_id
"""
