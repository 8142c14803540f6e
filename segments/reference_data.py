"""Load contacts and their history for the reference evaluator, from the stream and contacts' tables only."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.db.models import Q

from contacts.models import CompanyMembership, Consent, Contact, ContactScore, ContactTag, Identifier
from events.rules.reference import EventRecord, Person, exact, spelled
from events.stream.queries import named_events_of
from segments.models import Membership, Segment

_IDENTIFIERS = {"email": "email", "phone": "phone", "external_id": "externalId"}
_COMPANY_FIELDS = ("name", "website", "industry", "size")


def load_people(
    workspace_id: UUID, contact_ids: Collection[UUID], event_names: Collection[str]
) -> list[Person]:
    """Return the canonical contacts among these, each with what is merged into it."""
    return _Reading(workspace_id, contact_ids).people(event_names)


class _Reading:
    """Data of some contacts; a merged one's belongs to its survivor."""

    def __init__(self, workspace_id: UUID, contact_ids: Collection[UUID]) -> None:
        self.workspace_id = workspace_id
        contacts = Contact.objects.in_workspace(workspace_id).filter(
            Q(id__in=contact_ids, merged_into=None) | Q(merged_into__in=contact_ids)
        )
        rows = list(contacts)
        self.found = {row.id: _person(row) for row in rows if row.merged_into_id is None}
        survivors = {row.id: row.merged_into_id or row.id for row in rows}
        self.by_any_id = {
            id_: self.found[survivor_id]
            for id_, survivor_id in survivors.items()
            if survivor_id in self.found
        }

    def people(self, event_names: Collection[str]) -> list[Person]:
        for fill in (self._identifiers, self._scores, self._consents, self._tags, self._companies):
            fill()
        self._segments()
        self._events(event_names)
        return list(self.found.values())

    def _rows(self, rows: Any) -> Iterable[tuple[Person, Any]]:
        own = rows.in_workspace(self.workspace_id).filter(contact_id__in=list(self.by_any_id))
        return ((self.by_any_id[row.contact_id], row) for row in own.iterator())

    def _identifiers(self) -> None:
        """Return identifiers; a contact's own primary one comes before those of merged contacts."""
        ranked: dict[tuple[UUID, str], tuple[bool, UUID]] = {}
        for person, row in self._rows(Identifier.objects.filter(is_primary=True, kind__in=_IDENTIFIERS)):
            name, rank = _IDENTIFIERS[row.kind], (row.contact_id != person.id, row.id)
            if (person.id, name) not in ranked or rank < ranked[person.id, name]:
                ranked[person.id, name] = rank
                person.fields[name] = row.value

    def _scores(self) -> None:
        for person, row in self._rows(ContactScore.objects.all()):
            if row.contact_id == person.id:
                person.fields["score"] = exact(row.points)

    def _consents(self) -> None:
        for person, row in self._rows(Consent.objects.all()):
            if person.consents.get(row.channel) != Consent.Status.OPTED_OUT:
                person.consents[row.channel] = row.status

    def _tags(self) -> None:
        for person, row in self._rows(ContactTag.objects.select_related("tag")):
            person.tags.add(row.tag.name)

    def _companies(self) -> None:
        for person, row in self._rows(CompanyMembership.objects.select_related("company")):
            company = {name: getattr(row.company, name) or None for name in _COMPANY_FIELDS}
            person.companies.append({**company, "attributes": row.company.attributes})

    def _segments(self) -> None:
        versions = dict(Segment.objects.in_workspace(self.workspace_id).values_list("id", "version"))
        for person, row in self._rows(Membership.objects.all()):
            if versions.get(row.segment_id) == row.version:
                person.segments.add(row.segment_id)

    def _events(self, names: Collection[str]) -> None:
        by_name: dict[tuple[UUID, str], list[EventRecord]] = defaultdict(list)
        for row in named_events_of(self.workspace_id, self.by_any_id, names):
            if row.contact_id is not None:
                event = EventRecord(row.id, row.name, row.occurred_at, row.properties, row.context)
                by_name[self.by_any_id[row.contact_id].id, row.name].append(event)
        for (person_id, name), events in by_name.items():
            self.found[person_id].events[name] = sorted(
                events, key=lambda event: (event.occurred_at, event.id.int)
            )


def _person(row: Contact) -> Person:
    fields: dict[str, Any] = {
        "firstName": row.first_name or None,
        "lastName": row.last_name or None,
        "createdAt": spelled(row.created_at),
        "updatedAt": spelled(row.updated_at),
        "score": 0,
    }
    return Person(row.id, fields, row.attributes)
