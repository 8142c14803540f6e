"""Erase a person from every table, with a receipt, and export all that is stored about one.

Each app says in its `PERSONAL_DATA` what it has of a person; the settings list them, the uppermost app first.

One transaction takes the contacts away and leaves the tombstones, so that nothing comes in any more, and the receipt.
What hangs on the contacts goes in short ones of their own, which note in the receipt what they removed: so nobody
waits for it, and whoever comes later goes on where a killed process stopped.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.db import models, transaction
from django.db.models import Q
from django.utils.module_loading import import_string

from config import clock
from config.db.backfill import Backfill, Batch
from config.db.statements import execute
from config.errors import TryAgain
from config.http.rendering import dumps
from contacts.errors import ContactNotFound, ErasureNotFound
from contacts.identifiers import Identification
from contacts.identity.lookup import find, ids_of, lock_persons
from contacts.identity.writes import WriteConflict
from contacts.merging.reassignment import check_no_merge_in_progress
from contacts.models import (
    CompanyMembership,
    Consent,
    Contact,
    ContactScore,
    ContactTag,
    Erasure,
    Identifier,
    Merge,
)
from contacts.signals import reassigning_contacts
from contacts.tombstones import add_tombstones

_ATTEMPTS: Final = 20
BATCH_ROWS: Final = 5_000
"""Rows of one table that one transaction removes."""
_EXPORT_BATCH_ROWS: Final = 100
# Where a person was named in words: a shorter identifier may be part of anything.
_SHORTEST_WORD: Final = 6


@dataclass(frozen=True, slots=True)
class DataSubject:
    """The person of an erasure or export: all contacts that are one by merges, with their identifiers.

    Of somebody erased before only the ids are known; `since` then says from when on rows may have come in.
    """

    workspace_id: UUID
    contact_ids: tuple[UUID, ...]
    identifiers: tuple[Identification, ...] = ()
    # Every merge in which one of them was a part, undone ones too.
    merge_ids: tuple[UUID, ...] = ()
    # What staff's log names: the contacts, and what they had.
    object_ids: tuple[str, ...] = ()
    since: datetime | None = None

    @property
    def words(self) -> list[str]:
        """The identifiers that mean this person wherever they stand."""
        return [value for _, value in self.identifiers if len(value) >= _SHORTEST_WORD]

    def addresses(self, kind: str) -> list[str]:
        """Return the identifiers of a kind."""
        return [value for of_kind, value in self.identifiers if of_kind == kind]


Removed = Mapping[str, int]
"""How many rows of which table were removed."""


@dataclass(frozen=True, slots=True)
class PersonalDataSource:
    """How an app erases and exports its personal data; listed in `settings.PERSONAL_DATA`.

    `tables` have a `contact_id`, and go in this order. `erase_first` removes what else there is, before they go;
    `erase_with`, by table, what hangs on rows of it that are about to go, given the workspace and their ids.
    `hold` waits for whoever writes such rows at this moment, before the contacts are locked.
    """

    tables: Mapping[str, type[models.Model]]
    erase_first: Callable[[DataSubject], Removed] | None = None
    erase_with: Mapping[str, Callable[[UUID, Sequence[UUID]], Removed]] = field(default_factory=dict)
    export_more: Callable[[DataSubject], Mapping[str, Any]] | None = None
    hold: Callable[[DataSubject], None] | None = None


def erase_person(
    workspace_id: UUID, contact: Contact, *, by: str = "", at_most_seconds: float | None = None
) -> Erasure:
    """Erase a person with all merged contacts, and add tombstones so that they are not stored again.

    What is not removed within `at_most_seconds` is left to the background: the receipt is `running` then.
    What is under way at this moment and comes in later is removed by `resolve_erasures`. Raises ContactNotFound;
    MergeInProgress where a merge is being undone; TryAgain if others win every race; OperationalError where effects
    are applied to the person for too long.
    """
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic():
                erasure = _begin(workspace_id, contact.id, by)
        except WriteConflict:
            continue
        ERASURES.run(erasure, at_most_seconds=at_most_seconds)
        erasure.refresh_from_db()
        return erasure
    raise TryAgain


class ExportedRows:
    """Rows as an export has them, read some at a time: each column in camelCase, but for the workspace."""

    def __init__(self, rows: models.QuerySet[Any]) -> None:
        self._rows = rows.order_by("id").values()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows.iterator(chunk_size=_EXPORT_BATCH_ROWS):
            yield {_camel(name): value for name, value in row.items() if name != "workspace_id"}


@transaction.atomic
def write_export(workspace_id: UUID, contact: Contact, write: Callable[[bytes], object]) -> int:
    """Hand all that is stored about a person, table by table, to `write` as JSON, piece by piece, whatever its size.

    Returns how many tables there are. Raises, before anything is written, ContactNotFound; MergeInProgress where
    a merge is being undone.
    """
    known = _identifiers_known_of(workspace_id, contact)
    # All rows are read, not the first ones only: a plan that finds those soon may take for ever for the rest.
    execute("SET LOCAL cursor_tuple_fraction = 1")
    before = b"{"
    for name, value in known.items():
        write(before + dumps(name) + b":")
        if isinstance(value, ExportedRows):
            _write_rows(value, write)
        else:
            write(dumps(value))
        before = b","
    write(b"}")
    return sum(isinstance(value, list | ExportedRows) for value in known.values())


def _write_rows(rows: ExportedRows, write: Callable[[bytes], object]) -> None:
    before = b"["
    for row in rows:
        write(before + dumps(row))
        before = b","
    write(b"[]" if before == b"[" else b"]")


def _identifiers_known_of(workspace_id: UUID, contact: Contact) -> dict[str, Any]:
    root = _root(workspace_id, contact.id)
    # Nobody is given what another one has earned.
    check_no_merge_in_progress(workspace_id, {root}, undone_only=True)
    person = _person(workspace_id, root)
    known: dict[str, Any] = {
        "exportedAt": clock.now(),
        "contactIds": list(person.contact_ids),
        **_own(person),
    }
    for data in reversed(_personal_data()):
        for name, model in data.tables.items():
            known[name] = ExportedRows(_rows_of(person, model))
        known.update(data.export_more(person) if data.export_more else {})
    return known


def being_erased(workspace_id: UUID) -> list[UUID]:
    """Return the ids that contacts had of which rows are still being removed."""
    begun = Erasure.objects.in_workspace(workspace_id).unfinished()
    return [contact_id for ids in begun.values_list("contact_ids", flat=True) for contact_id in ids]


def resolve_erasures() -> int:
    """Remove what came in after its person was erased, for as long as anything can. Returns the rows removed."""
    removed = 0
    for erasure in Erasure.objects.unsettled().order_by("erased_at"):
        with transaction.atomic():
            removed += _resolve(erasure, clock.now())
    return removed


def find_erasure(workspace_id: UUID, erasure_id: UUID | None) -> Erasure:
    """Return a receipt of the workspace. Raises ErasureNotFound."""
    erasure = Erasure.objects.in_workspace(workspace_id).filter(id=erasure_id).first() if erasure_id else None
    if erasure is None:
        raise ErasureNotFound
    return erasure


def removed_of_contacts(person: DataSubject, model: type[models.Model], column: str = "contact_id") -> int:
    """Delete a person's rows of a table, without loading any. Returns how many."""
    return execute(
        f"DELETE FROM {model._meta.db_table} WHERE workspace_id = %s AND {column} = ANY(%s)",
        [person.workspace_id, list(person.contact_ids)],
    )


def _begin(workspace_id: UUID, contact_id: UUID, by: str) -> Erasure:
    """Take the contacts away, with what says who they are; what hangs on them is still to go."""
    root = _root(workspace_id, contact_id)
    person = _person(workspace_id, root)
    reassigning_contacts.send(sender=Erasure, workspace_id=workspace_id, contact_ids=person.contact_ids)
    for data in _personal_data():
        if data.hold:
            data.hold(person)
    if lock_persons(workspace_id, [root]).keys() != set(person.contact_ids):
        raise WriteConflict
    # Of a merge all is the person's; of an undo some rows are still with the other one.
    check_no_merge_in_progress(workspace_id, {root}, undone_only=True)
    # Again: only now does nobody change who the person is, and by what it is known.
    person = _person(workspace_id, root)
    # Exports have the ids of contacts as well, in place of identifiers.
    own_ids = [(Identifier.ANONYMOUS_ID, str(contact_id)) for contact_id in person.contact_ids]
    add_tombstones(workspace_id, [*person.identifiers, *own_ids])
    return Erasure.objects.create(
        workspace_id=workspace_id,
        contact_ids=list(person.contact_ids),
        progressed_at=clock.now(),
        cursor={
            "identifiers": [list(identifier) for identifier in person.identifiers],
            "mergeIds": [str(merge_id) for merge_id in person.merge_ids],
            "objectIds": _objects_of(person),
            "done": [],
        },
        removed=dict(+Counter(_delete_contact_rows(person))),
        by=by,
    )


def _remove_batch(erasure: Erasure) -> Batch:
    """Remove some more and note it in the receipt."""
    person = _data_subject_of(erasure)
    for name, remove in _deletions(person):
        if name not in erasure.cursor["done"]:
            removed = +Counter(remove())
            if removed.total() < BATCH_ROWS:
                erasure.cursor["done"].append(name)
            erasure.removed = dict(Counter(erasure.removed) + removed)
            return Batch(erasure.cursor, done=removed.total())
    return Batch(None)


def _data_subject_of(erasure: Erasure) -> DataSubject:
    """Return whom an erasure that is under way is about."""
    known = erasure.cursor
    return DataSubject(
        erasure.workspace_id,
        tuple(erasure.contact_ids),
        tuple((kind, value) for kind, value in known["identifiers"]),
        tuple(UUID(merge_id) for merge_id in known["mergeIds"]),
        tuple(known["objectIds"]),
    )


def _root(workspace_id: UUID, contact_id: UUID) -> UUID:
    root = find(workspace_id, [contact_id]).by_id.get(contact_id)
    if root is None:
        raise ContactNotFound
    return root


def _person(workspace_id: UUID, root: UUID) -> DataSubject:
    ids = ids_of(workspace_id, root)
    known = Identifier.objects.in_workspace(workspace_id).filter(contact_id__in=ids)
    merges = Merge.objects.in_workspace(workspace_id).filter(Q(survivor__in=ids) | Q(merged__in=ids))
    return DataSubject(
        workspace_id,
        tuple(ids),
        tuple(known.order_by("id").values_list("kind", "value")),
        tuple(merges.values_list("id", flat=True)),
    )


def _resolve(erasure: Erasure, now: datetime) -> int:
    margin = timedelta(seconds=settings.ERASURE_SETTLE_SECONDS)
    person = DataSubject(erasure.workspace_id, tuple(erasure.contact_ids), since=erasure.erased_at - margin)
    removed = _remove(person)
    if removed or now >= erasure.erased_at + margin:
        erasure.removed = dict(Counter(erasure.removed) + removed)
        erasure.settled_at = now if now >= erasure.erased_at + margin else None
        erasure.save(update_fields=["removed", "settled_at"])
    return removed.total()


def _remove(person: DataSubject) -> Counter[str]:
    """Delete all rows of a person from the uppermost app down. Returns how many of which table."""
    removed: Counter[str] = Counter()
    for _, remove in _deletions(person):
        while batch := +Counter(remove()):
            removed += batch
            if batch.total() < BATCH_ROWS:
                break
    return removed


def _deletions(person: DataSubject) -> Iterator[tuple[str, Callable[[], Removed]]]:
    """Yield what is to be done, in its order, each under a name of its own.

    Each removes all there is or BATCH_ROWS rows, and may be done again.
    """
    for path, data in zip(settings.PERSONAL_DATA, _personal_data(), strict=True):
        if data.erase_first:
            yield f"{path} first", partial(data.erase_first, person)
        for name, model in data.tables.items():
            yield name, partial(_delete_batch, person, name, model, data.erase_with.get(name))
    yield "adminLog", partial(_blank_admin_log, person)
    yield "contacts", partial(_delete_contact_rows, person)


def _delete_batch(
    person: DataSubject,
    name: str,
    model: type[models.Model],
    erase_with: Callable[[UUID, Sequence[UUID]], Removed] | None,
) -> Removed:
    """Delete some of a person's rows of a table, and what hangs on them."""
    ids = list(_rows_of(person, model).order_by().values_list("pk", flat=True)[:BATCH_ROWS])
    if not ids:
        return {}
    hanging = erase_with(person.workspace_id, ids) if erase_with else {}
    # The bounds are for the planner, which so leaves out most partitions.
    count = execute(
        f"DELETE FROM {model._meta.db_table}"
        " WHERE workspace_id = %s AND id = ANY(%s) AND id BETWEEN %s AND %s",
        [person.workspace_id, ids, min(ids), max(ids)],
    )
    return {**hanging, name: count}


def _delete_contact_rows(person: DataSubject) -> Removed:
    return {
        "merges": removed_of_contacts(person, Merge, "survivor_id")
        + removed_of_contacts(person, Merge, "merged_id"),
        **{name: removed_of_contacts(person, model) for name, model in _OWN_TABLES.items()},
        "contacts": removed_of_contacts(person, Contact, "id"),
    }


def _objects_of(person: DataSubject) -> list[str]:
    """Return the ids under which staff's log may have the person's rows."""
    objects = [*person.contact_ids, *person.merge_ids]
    for model in (Identifier, CompanyMembership):
        objects += _rows_of(person, model).values_list("id", flat=True)
    return [str(object_id) for object_id in objects]


def _blank_admin_log(person: DataSubject) -> Removed:
    """Take the person's names out of the log of what staff did; that they did something stays."""
    objects = list(person.object_ids) or [str(contact_id) for contact_id in person.contact_ids]
    return {"adminLog": execute(_BLANK, [_ERASED, _ERASED, objects, person.words])}


_BLANK: Final = f"""
UPDATE {LogEntry._meta.db_table} SET object_repr = %s, change_message = ''
WHERE object_repr <> %s AND (object_id = ANY(%s::text[]) OR EXISTS (
    SELECT FROM unnest(%s::text[]) AS one (word)
    WHERE position(lower(one.word) IN lower(object_repr)) > 0
        OR position(lower(one.word) IN lower(change_message)) > 0
))
"""


def _own(person: DataSubject) -> dict[str, Any]:
    contacts = Contact.objects.in_workspace(person.workspace_id).filter(id__in=person.contact_ids)
    merges = Merge.objects.in_workspace(person.workspace_id).filter(id__in=person.merge_ids)
    return {
        "contacts": ExportedRows(contacts),
        **{name: ExportedRows(_rows_of(person, model)) for name, model in _OWN_TABLES.items()},
        "tags": _names(_rows_of(person, ContactTag), "tag__name"),
        "companies": _names(_rows_of(person, CompanyMembership), "company__name"),
        "merges": ExportedRows(merges),
    }


def _names(rows: models.QuerySet[Any], column: str) -> list[str]:
    return list(dict.fromkeys(rows.order_by("id").values_list(column, flat=True)))


def _rows_of(person: DataSubject, model: type[models.Model]) -> models.QuerySet[Any]:
    return model._base_manager.filter(workspace_id=person.workspace_id, contact_id__in=person.contact_ids)


def _personal_data() -> list[PersonalDataSource]:
    return [import_string(path) for path in settings.PERSONAL_DATA]


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_ERASED: Final = "erased"
_OWN_TABLES: Final[Mapping[str, type[models.Model]]] = {
    "scores": ContactScore,
    "companies": CompanyMembership,
    "consents": Consent,
    "tags": ContactTag,
    "identifiers": Identifier,
}
ERASURES: Final = Backfill(Erasure.objects.unfinished, _remove_batch)
"""Erasures with rows left to remove."""
