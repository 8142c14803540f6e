"""People of the reference, written down as rows, and rules decided by the SQL over them."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction

from config import ids
from config.db.sql import Sql, join, sql
from config.db.statements import fetch_all
from contacts.models import (
    Company,
    CompanyMembership,
    Consent,
    Contact,
    ContactScore,
    ContactTag,
    Identifier,
    Tag,
)
from events.models import Event
from events.rules import AggregateSpec, CompiledRules, Rule, compile_rules
from events.rules.compiler import bound_values
from events.stream.partitions import ensure_partitions
from tests.events.rules.reference import EventRecord, Person
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace

KINDS = {"email": "email", "phone": "phone", "externalId": "external_id"}


@dataclass(frozen=True)
class Stored:
    """A person as rows: the contact, and who was merged into it; segments that nobody stores are told here."""

    person: Person
    contact_id: UUID
    merged_id: UUID | None

    @property
    def ids(self) -> list[UUID]:
        """The contact and those merged into it."""
        return [self.contact_id, *([self.merged_id] if self.merged_id else [])]


@contextmanager
def stored_world(
    people: Sequence[Person], *, split: bool = False
) -> Iterator[tuple[Workspace, list[Stored]]]:
    """Write people into a new workspace, and forget them after.

    `split`: half of what each has came with a contact merged into it.
    """
    with transaction.atomic():
        workspace = WorkspaceFactory.create()
        stored = [
            Stored(person, ids.uuid7(person.created_at), ids.uuid7(person.created_at) if split else None)
            for person in people
        ]
        _Writer(workspace).write(stored)
        yield workspace, stored
        transaction.set_rollback(True)


def membership(segment_id: UUID) -> tuple[Sql, Sql]:
    """Stand in for the segments, which are floors above: who is in one has a tag that says so, for ever."""
    tagged = sql(
        "EXISTS (SELECT 1 FROM contacts_contacttag ct JOIN contacts_tag tag ON tag.id = ct.tag_id"
        " WHERE ct.contact_id = b.contact_id AND tag.name = {:text})",
        f"in {segment_id}",
    )
    return tagged, sql("NULL::timestamptz")


def store_events(workspace: Workspace, events: Sequence[tuple[UUID, EventRecord]]) -> None:
    """Write events of contacts into the stream, past the ways in."""
    ensure_partitions({ids.time_of(event.id) for _, event in events})
    Event.objects.bulk_create(
        Event(
            id=event.id,
            workspace=workspace,
            contact_id=contact_id,
            name=event.name,
            properties=event.properties,
            context=event.context,
            occurred_at=event.occurred_at,
            received_at=event.occurred_at,
        )
        for contact_id, event in events
    )


@dataclass(frozen=True)
class Decision:
    """The SQL's answer."""

    holds: bool
    next_at: datetime | None


def decide(
    workspace: Workspace,
    rules: Sequence[Rule],
    asked: Sequence[tuple[Stored, datetime]],
    *,
    built: Collection[AggregateSpec] = (),
    triggers: Sequence[UUID] = (),
) -> list[list[Decision]]:
    """Return, for each that is asked, what each rule says; `triggers`: the event that each is about."""
    compiled = compile_rules(rules, built=built)
    rows = join(
        " UNION ALL ",
        [
            sql(
                "SELECT {:int} AS place, {:uuid} AS contact_id, {:uuid[]} AS ids, {at:timestamptz} AS as_of,"
                " {at:timestamptz} AS until, NULL::numeric AS score, {:uuid} AS event_id",
                place,
                stored.contact_id,
                stored.ids,
                triggers[place] if triggers else None,
                at=at,
            )
            for place, (stored, at) in enumerate(asked)
        ],
    )
    moments = [at for _, at in asked]
    found = _run(workspace, compiled, rows, moments, with_trigger=bool(triggers))
    assert len(found) == len(asked)
    return [found[place] for place in range(len(asked))]


def _run(
    workspace: Workspace,
    compiled: CompiledRules,
    rows: Sql,
    moments: Sequence[datetime],
    *,
    with_trigger: bool,
) -> dict[int, list[Decision]]:
    columns = [name for pair in zip(compiled.matches, compiled.next_at, strict=True) for name in pair]
    trigger = (
        "CROSS JOIN LATERAL (SELECT * FROM events_event WHERE workspace_id = {:uuid} AND id = b.event_id) t"
    )
    statement = sql(
        "SELECT b.place, {} FROM ({}) b {} {}",
        join(", ", columns),
        rows,
        sql(trigger, workspace.id) if with_trigger else Sql(),
        compiled.joins,
    )
    found = fetch_all(statement, bound_values(workspace.id, min(moments), max(moments)))
    return {
        place: [Decision(*answers[i : i + 2]) for i in range(0, len(answers), 2)] for place, *answers in found
    }


class _Writer:
    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace

    def write(self, stored: Sequence[Stored]) -> None:
        self._contacts(stored)
        self._tags(stored)
        self._companies(stored)
        store_events(
            self.workspace,
            [
                (one.ids[place % len(one.ids)], event)
                for one in stored
                for place, event in enumerate(one.person.events)
            ],
        )

    def _contacts(self, stored: Sequence[Stored]) -> None:
        own = {"workspace": self.workspace}
        Contact.objects.bulk_create(
            Contact(
                **own,
                id=one.contact_id,
                first_name=one.person.fields.get("firstName", ""),
                last_name=one.person.fields.get("lastName", ""),
                attributes=one.person.attributes,
                created_at=one.person.created_at,
                updated_at=one.person.updated_at,
            )
            for one in stored
        )
        Contact.objects.bulk_create(
            Contact(**own, id=one.merged_id, first_name="merged", merged_into_id=one.contact_id)
            for one in stored
            if one.merged_id
        )
        Identifier.objects.bulk_create(
            Identifier(
                **own,
                contact_id=one.ids[place % len(one.ids)],
                kind=KINDS[name],
                value=one.person.fields[name],
                is_primary=True,
            )
            for one in stored
            for place, name in enumerate(KINDS)
            if name in one.person.fields
        )
        ContactScore.objects.bulk_create(
            ContactScore(**own, contact_id=one.contact_id, points=one.person.score)
            for one in stored
            if one.person.score
        )
        Consent.objects.bulk_create(
            Consent(**own, contact_id=contact_id, channel=channel, status=status)
            for one in stored
            for channel, status in one.person.consents.items()
            # Who opted out speaks for all; who opted in may have done so as the other.
            for contact_id in (one.ids[-1:] if status == "opted_out" else one.ids[:1])
        )
        if opted_in := [
            Consent(**own, contact_id=one.contact_id, channel=channel, status="opted_in")
            for one in stored
            for channel, status in one.person.consents.items()
            if one.merged_id and status == "opted_out"
        ]:
            Consent.objects.bulk_create(opted_in)

    def _tags(self, stored: Sequence[Stored]) -> None:
        """Tags, and memberships of segments: see `membership`."""
        put_on = [
            (one.ids[place % len(one.ids)], name)
            for one in stored
            for place, name in enumerate(sorted(one.person.tags))
        ]
        put_on += [(one.contact_id, f"in {segment}") for one in stored for segment in one.person.segments]
        tags = {
            name: Tag(workspace=self.workspace, name=name) for name in sorted({name for _, name in put_on})
        }
        Tag.objects.bulk_create(tags.values())
        ContactTag.objects.bulk_create(
            ContactTag(workspace=self.workspace, contact_id=contact_id, tag=tags[name])
            for contact_id, name in put_on
        )

    def _companies(self, stored: Sequence[Stored]) -> None:
        for number, one in enumerate(stored):
            for place, company in enumerate(one.person.companies):
                row = Company(
                    workspace=self.workspace,
                    name=company["name"],
                    # Two persons' companies may be of one name here: what rules read is the name itself.
                    name_key=f"{number} {place}",
                    industry=company.get("industry", ""),
                    attributes=company.get("attributes", {}),
                )
                Company.objects.bulk_create([row])
                CompanyMembership.objects.create(
                    workspace=self.workspace, contact_id=one.ids[place % len(one.ids)], company=row
                )
