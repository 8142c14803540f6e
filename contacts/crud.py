"""Create, update and delete single contacts."""

from collections.abc import Callable, Iterable
from typing import Final, Literal
from uuid import UUID

from django.db import transaction

from config.errors import DomainError, TryAgain
from config.ids import parse_uuid
from config.values.names import composed
from contacts.errors import ContactNotFound, IdentifierTaken, InvalidIdentifier, NoIdentity
from contacts.identifiers import BUILT_IN_KINDS, normalize_all, normalize_identifier
from contacts.identity.lookup import find, ids_of, lock
from contacts.identity.resolution import resolve_contacts
from contacts.identity.unit_of_work import UnitOfWork, identifiers_in, mismatches_in, schema_for
from contacts.identity.writes import WriteConflict, write
from contacts.models import Contact, Identifier
from contacts.profiles.schema import ContactSchema
from contacts.profiles.state import ContactDraft
from contacts.queries import with_details
from contacts.references import ContactChanges, ContactReference
from workspaces.models import Workspace

# A taken identifier is refused when it is what the caller asked for, ignored when it is only told beside.
TakenIdentifiers = Literal["refuse", "ignore"]
_ATTEMPTS: Final = 20


def find_contact(workspace: Workspace, text: str) -> Contact:
    """Return the contact whose id, else whose identity value `text` is. Raises ContactNotFound."""
    contact_id = parse_uuid(text)
    identity = normalize_all([(workspace.identity_field, text)])
    found = find(workspace.id, [contact_id] if contact_id else (), identity)
    for survivor in (*found.by_id.values(), *found.by_identifier.values()):
        return get_contact(workspace.id, survivor)
    raise ContactNotFound


def get_contact(workspace_id: UUID, contact_id: UUID) -> Contact:
    """Return a contact with its identifiers, tags, consents and score loaded. Raises ContactNotFound."""
    contact = with_details(Contact.objects.in_workspace(workspace_id)).filter(id=contact_id).first()
    if contact is None:
        raise ContactNotFound
    return contact


def contact_exists_elsewhere(workspace_id: UUID, text: str) -> bool:
    """Return whether `text` is the id of a contact of another workspace."""
    contact_id = parse_uuid(text)
    return (
        contact_id is not None
        and Contact.objects.filter(id=contact_id).exclude(workspace_id=workspace_id).exists()
    )


@transaction.atomic
def create_contact(
    workspace: Workspace,
    changes: ContactChanges,
    *,
    require_identity: bool = False,
    taken_identifiers: TakenIdentifiers = "refuse",
) -> Contact:
    """Create a contact; with `require_identity` it must have an identifier.

    Raises IdentifierTaken, InvalidIdentifier, InvalidFieldValue, NoIdentity.
    """
    _check_identifiers(changes)
    schema = schema_for(workspace.id, [changes])
    if require_identity:
        _require_identity(workspace, changes)
    refuse = taken_identifiers == "refuse"

    def attempt() -> ContactDraft:
        unit_of_work = _unit_of_work(workspace.id, schema, changes)
        draft = unit_of_work.create()
        unit_of_work.apply(
            draft, unit_of_work.check(changes), normalize_all(changes.identifiers), refuse_taken=refuse
        )
        write(workspace.id, [draft])
        return draft

    return get_contact(workspace.id, _persist(attempt, refuse).id)


@transaction.atomic
def update_contact(
    workspace_id: UUID,
    contact: Contact,
    changes: ContactChanges,
    *,
    taken_identifiers: TakenIdentifiers = "refuse",
) -> Contact:
    """Set `changes` on a contact; an identifier given becomes the primary one of its kind.

    Raises ContactNotFound, IdentifierTaken, InvalidIdentifier, InvalidFieldValue.
    """
    _check_identifiers(changes)
    schema = schema_for(workspace_id, [changes])
    refuse = taken_identifiers == "refuse"

    def attempt() -> ContactDraft:
        survivor = _lock(workspace_id, contact.id)
        unit_of_work = _unit_of_work(workspace_id, schema, changes, [survivor])
        draft = unit_of_work.edit(survivor)
        unit_of_work.apply(
            draft, unit_of_work.check(changes), normalize_all(changes.identifiers), refuse_taken=refuse
        )
        write(workspace_id, [draft])
        return draft

    return get_contact(workspace_id, _persist(attempt, refuse).id)


@transaction.atomic
def upsert_contact(
    workspace_id: UUID, kind: str, value: object, changes: ContactChanges
) -> tuple[Contact, bool]:
    """Update the contact that an identifier finds, or create it. Returns it with whether it was created.

    Identifiers in `changes` that others hold are left out. Raises InvalidIdentifier, InvalidFieldValue.
    """
    if normalize_identifier(kind, value) is None:
        raise InvalidIdentifier(kind, value)
    reference = ContactReference(
        identifiers=((kind, value),), if_missing="create", update_matched=True, changes=changes
    )
    (result,) = resolve_contacts(workspace_id, [reference])
    if isinstance(result, DomainError):
        raise result
    return get_contact(workspace_id, result.contact_id), result.created


@transaction.atomic
def delete_contact(workspace_id: UUID, contact: Contact) -> None:
    """Delete a contact, those merged into it and all that hangs on them; events stay. Raises ContactNotFound."""
    survivor = _lock(workspace_id, contact.id)
    person = Contact.objects.in_workspace(workspace_id).in_bulk(ids_of(workspace_id, survivor))
    # contacts_changed is sent by the receiver of pre_delete, as for a deletion in the admin.
    for contact in (person.pop(survivor), *person.values()):
        contact.delete()


def set_consent(workspace_id: UUID, contact: Contact, channel: str, status: str) -> Contact:
    """Set a contact's consent on a channel. Raises InvalidFieldValue."""
    return update_contact(workspace_id, contact, ContactChanges(consents={channel: status}))


@transaction.atomic
def untag_contact(workspace_id: UUID, contact: Contact, *tags: str) -> Contact:
    """Remove tags from a contact; those it has not are ignored."""
    survivor = _lock(workspace_id, contact.id)
    unit_of_work = _unit_of_work(workspace_id, ContactSchema(), ContactChanges(), [survivor])
    draft = unit_of_work.edit(survivor)
    for tag in tags:
        draft.after.tags.pop(composed(tag.strip()), None)
    write(workspace_id, [draft])
    return get_contact(workspace_id, survivor)


@transaction.atomic
def remove_identifier(workspace_id: UUID, contact: Contact, kind: str, value: object) -> Contact:
    """Delete an identifier of a contact; the oldest one left of its kind becomes primary."""
    survivor = _lock(workspace_id, contact.id)
    unit_of_work = _unit_of_work(workspace_id, ContactSchema(), ContactChanges(), [survivor])
    draft = unit_of_work.edit(survivor)
    identifiers = draft.after.identifiers
    was_primary = identifiers.pop((kind, normalize_identifier(kind, value) or ""), False)
    heir = next((key for key in identifiers if key[0] == kind), None)
    if was_primary and heir:
        identifiers[heir] = True
    write(workspace_id, [draft])
    return get_contact(workspace_id, survivor)


@transaction.atomic
def clear_identifier(workspace_id: UUID, contact: Contact, kind: str) -> Contact:
    """Delete the primary identifier of a kind; no other becomes primary.

    The others stay what the contact is found by; but what was replaced long ago is not written to again.
    """
    survivor = _lock(workspace_id, contact.id)
    unit_of_work = _unit_of_work(workspace_id, ContactSchema(), ContactChanges(), [survivor])
    draft = unit_of_work.edit(survivor)
    identifiers = draft.after.identifiers
    identifiers.pop((kind, draft.after.primary(kind) or ""), None)
    write(workspace_id, [draft])
    # Of a merged contact too, which would be the person's as soon as that has none of its own.
    known = Identifier.objects.in_workspace(workspace_id).filter(
        contact_id__in=ids_of(workspace_id, survivor)
    )
    known.filter(kind=kind, is_primary=True).update(is_primary=False)
    return get_contact(workspace_id, survivor)


def _check_identifiers(changes: ContactChanges) -> None:
    for kind, value in changes.identifiers:
        if normalize_identifier(kind, value) is None:
            raise InvalidIdentifier(kind, value)


def _require_identity(workspace: Workspace, changes: ContactChanges) -> None:
    kind = workspace.identity_field
    if kind in {given for given, _ in changes.identifiers}:
        return
    value = changes.attributes.get(kind) if kind not in BUILT_IN_KINDS else None
    if value is None or value == "":
        raise NoIdentity(kind)


def _unit_of_work(
    workspace_id: UUID, schema: ContactSchema, changes: ContactChanges, ids: Iterable[UUID] = ()
) -> UnitOfWork:
    found = find(workspace_id, list(ids), identifiers_in(schema, changes), with_states=True, with_erased=True)
    return UnitOfWork(schema, found, mismatches_in(schema, [changes]))


def _lock(workspace_id: UUID, contact_id: UUID) -> UUID:
    """Lock the contact, or the one that it was merged into, and return its id."""
    for _ in range(_ATTEMPTS):
        survivor = find(workspace_id, [contact_id]).by_id.get(contact_id)
        if survivor is None:
            raise ContactNotFound
        if lock(workspace_id, [survivor]):
            return survivor
    raise ContactNotFound


def _persist(attempt: Callable[[], ContactDraft], refuse_taken: bool) -> ContactDraft:
    for _ in range(_ATTEMPTS):
        try:
            with transaction.atomic():
                return attempt()
        except WriteConflict as race:
            if refuse_taken:
                raise IdentifierTaken(*race.taken[0]) from race
    raise TryAgain
