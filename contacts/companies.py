"""Companies and their contacts: resolution of references, and memberships."""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import Q

from config import clock
from config.db.statements import fetch_all
from config.errors import DomainError, TryAgain
from config.ids import parse_uuid, uuid7
from contacts.errors import CompanyNotFound, InvalidFieldValue
from contacts.models import Company, Contact, company_name_key
from contacts.profiles.schema import refuse_too_many
from contacts.profiles.state import differ
from contacts.references import CompanyReference
from contacts.signals import ContactChange, contacts_changed

ResolvedCompany = tuple[Company, bool]
"""A company, and whether this call made it."""


class _Described(msgspec.Struct, frozen=True):
    """A company as a reference tells of it; with an `external_id` all of it is to be set, else to make it only."""

    values: Mapping[str, str]
    external_id: str = ""
    attributes: Mapping[str, Any] = {}

    @property
    def name_key(self) -> str:
        return company_name_key(self.values["name"])


class CompanyResolution:
    """Resolution of a batch of company references: looked up in one statement; `apply` creates missing ones.

    One that exists stays as it is, unless its reference has an `external_id`. Costs one statement where all exist,
    up to two more where some are made, and one for each that changes.
    """

    def __init__(self, workspace_id: UUID, references: Sequence[CompanyReference]) -> None:
        self._workspace_id = workspace_id
        self._wanted = [_parse(reference) for reference in references]
        described = [each for each in self._wanted if isinstance(each, _Described)]
        ids = {each for each in self._wanted if isinstance(each, UUID)}
        keys = {each.name_key for each in described}
        external_ids = {each.external_id for each in described if each.external_id}
        self._by_id: dict[UUID, Company] = {}
        self._by_key: dict[str, Company] = {}
        self._by_external_id: dict[str, Company] = {}
        if ids or keys:
            meant = Q(id__in=ids) | Q(name_key__in=keys)
            if external_ids:
                meant |= _of_external_ids(external_ids)
            self._add(Company.objects.in_workspace(workspace_id).filter(meant))

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
        """Create the missing companies of the references at `places`, and change those with an external id."""
        described = [wanted for place in places if isinstance(wanted := self._wanted[place], _Described)]
        missing: dict[str, _Described] = {}
        for each in described:
            if self._found(each) is None:
                missing.setdefault(each.external_id or each.name_key, each)
        made = self._make(list(missing.values())) if missing else set()
        self._update([each for each in described if each.external_id])
        refusals = self.refusals
        return [refusals[place] or self._resolved(place, made) for place in places]

    def _found(self, wanted: _Described) -> Company | None:
        if not wanted.external_id:
            return self._by_key.get(wanted.name_key)
        if (known := self._by_external_id.get(wanted.external_id)) is not None:
            return known
        # One that was made by its name, elsewhere: it becomes the other system's.
        namesake = self._by_key.get(wanted.name_key)
        return namesake if namesake is not None and not namesake.external_id else None

    def _resolved(self, place: int, made: set[UUID]) -> ResolvedCompany:
        """Return the company at a place; the first of its references has made it."""
        wanted = self._wanted[place]
        if isinstance(wanted, UUID):
            return self._by_id[wanted], False
        company = self._found(wanted) if isinstance(wanted, _Described) else None
        assert company is not None  # noqa: S101  (anything else is among the refusals)
        is_made = company.id in made
        made.discard(company.id)
        return company, is_made

    def _make(self, missing: Sequence[_Described]) -> set[UUID]:
        """Insert companies by their keys; return the ids of those that nobody else has made meanwhile."""
        rows: dict[str, tuple[UUID, dict[str, str], _Described]] = {}
        for each in missing:
            name = self._free_name(each, rows)
            rows[company_name_key(name)] = (uuid7(), {**each.values, "name": name}, each)
        ordered = [(key, *rows[key]) for key in sorted(rows)]
        parameters = {
            "workspace": self._workspace_id,
            "now": clock.now(),
            "ids": [id_ for _, id_, _, _ in ordered],
            "keys": [key for key, _, _, _ in ordered],
            "external_ids": [each.external_id for _, _, _, each in ordered],
            "attributes": [
                msgspec.json.encode(_merged({}, each.attributes)).decode() for _, _, _, each in ordered
            ],
            **{f"{name}s": [values[name] for _, _, values, _ in ordered] for name in _LIMITS},
        }
        self._add(Company.objects.raw(_INSERT, parameters))
        if left := [each for each in missing if self._found(each) is None]:
            # What another has committed since the statement began is seen by the next one.
            meant = Q(name_key__in=[each.name_key for each in left])
            meant |= _of_external_ids([each.external_id for each in left if each.external_id])
            self._add(Company.objects.in_workspace(self._workspace_id).filter(meant))
        if any(self._found(each) is None for each in missing):
            raise TryAgain
        return {id_ for id_, _, _ in rows.values() if id_ in self._by_id}

    def _free_name(self, wanted: _Described, taken: Collection[str]) -> str:
        """Return the name, with the external id behind it where another company has it."""
        name = wanted.values["name"]
        if not wanted.external_id or (wanted.name_key not in self._by_key and wanted.name_key not in taken):
            return name
        return f"{name} ({wanted.external_id})"[-_LIMITS["name"] :]

    def _update(self, described: Sequence[_Described]) -> None:
        """Set what references with an external id tell of their companies; as models, so that segments follow."""
        found = [(self._found(each), each) for each in described]
        changing = {company.id for company, each in found if company and self._set(copy(company), each)}
        if not changing:
            return
        locked = Company.objects.in_workspace(self._workspace_id).filter(id__in=changing)
        self._add(locked.select_for_update(no_key=True).order_by("id"))
        for each in described:
            if (company := self._found(each)) is not None and company.id in changing:
                self._set(company, each)
                self._add([company])
        for company_id in sorted(changing):
            self._save(self._by_id[company_id])

    def _save(self, company: Company) -> None:
        company.updated_at = clock.now()
        try:
            with transaction.atomic():
                company.save(update_fields=[*_COLUMNS, "updated_at"])
        except IntegrityError as error:
            # Another has taken the name, or the id, in this moment.
            raise TryAgain from error

    def _set(self, company: Company, wanted: _Described) -> bool:
        """Set on a company what is told of it; returns whether that changes it."""
        before = {name: getattr(company, name) for name in _COLUMNS}
        for name, value in wanted.values.items():
            if value and (name != "name" or self._is_free(wanted, company)):
                setattr(company, name, value)
        company.name_key = company_name_key(company.name)
        company.external_id = wanted.external_id
        company.attributes = _merged(company.attributes, wanted.attributes)
        return any(differ(value, getattr(company, name)) for name, value in before.items())

    def _is_free(self, wanted: _Described, company: Company) -> bool:
        """Return whether a company may have the name: nobody else has, and it is no mere stand-in for one."""
        holder = self._by_key.get(wanted.name_key)
        is_stand_in = wanted.values["name"] == wanted.external_id
        return (holder is None or holder.id == company.id) and not is_stand_in

    def _add(self, companies: Collection[Company]) -> None:
        for company in companies:
            self._by_id[company.id] = company
            self._by_key[company.name_key] = company
            if company.external_id:
                self._by_external_id[company.external_id] = company


def _of_external_ids(external_ids: Collection[str]) -> Q:
    """Return who has an external id, in the words of the index, which leaves out companies without any."""
    return Q(external_id__in=external_ids) & ~Q(external_id="")


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


def _parse(reference: CompanyReference) -> UUID | _Described | DomainError:
    """Return the id, or what is told of the company, or what is wrong with that."""
    if reference.id not in (None, ""):
        return parse_uuid(reference.id) or CompanyNotFound()
    try:
        external_id = _text("external_id", reference.external_id)
        values = {
            "name": _text("name", reference.name, required=not external_id) or external_id,
            "website": _text("website", reference.website),
            "industry": _text("industry", reference.industry),
            "size": _text("size", reference.size),
        }
        refuse_too_many(reference.attributes)
    except InvalidFieldValue as error:
        return error
    return _Described(values, external_id, reference.attributes)


def _merged(attributes: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**attributes, **changes}.items() if value is not None}


def _text(field: str, value: object, *, required: bool = False) -> str:
    limit = _LIMITS.get(field, _LIMITS["name"])
    text = "" if value is None else value
    if not isinstance(text, str) or "\x00" in text or len(text.strip()) > limit:
        raise InvalidFieldValue(field, f"a text of at most {limit} characters")
    if required and not text.strip():
        raise InvalidFieldValue(field, "given")
    return text.strip()


_LIMITS: Final = {"name": 255, "website": 2048, "industry": 255, "size": 64}
_COLUMNS: Final = ("name", "name_key", "website", "industry", "size", "external_id", "attributes")

_INSERT: Final = """
INSERT INTO contacts_company
    (id, workspace_id, name, name_key, website, industry, size, external_id, attributes, created_at, updated_at)
SELECT id, %(workspace)s, name, key, website, industry, size, external_id, attributes::jsonb, %(now)s, %(now)s
FROM unnest(
    %(ids)s::uuid[], %(names)s::varchar[], %(keys)s::varchar[], %(websites)s::varchar[],
    %(industrys)s::varchar[], %(sizes)s::varchar[], %(external_ids)s::varchar[], %(attributes)s::text[]
) AS new (id, name, key, website, industry, size, external_id, attributes)
ORDER BY key
ON CONFLICT DO NOTHING
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
