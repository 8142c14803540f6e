"""Find or create the contacts of a batch of references."""

from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import msgspec
from django.db import transaction

from config.errors import DomainError, TryAgain
from config.ids import parse_uuid
from contacts.errors import ContactNotFound, InvalidIdentifier, NoIdentity
from contacts.identifiers import Identification, normalize_all
from contacts.identity.lookup import Found, find, lock
from contacts.identity.unit_of_work import UnitOfWork, identifiers_in, mismatches_in, needs_schema
from contacts.identity.writes import WriteConflict, create, publish, write
from contacts.models import Identifier
from contacts.profiles.schema import ContactSchema
from contacts.profiles.state import ContactState
from contacts.references import NO_CHANGES, ContactChanges, ContactReference, Resolution

# Each new attempt is owed to somebody else's commit, so the second nearly always succeeds.
_ATTEMPTS: Final = 20


def resolve_contacts(
    workspace_id: UUID, references: Sequence[ContactReference]
) -> list[Resolution | DomainError]:
    """Return the contact that each reference means, or why there is none, in a fixed number of statements.

    Runs in the caller's transaction. Raises TryAgain if others win every race.
    """
    return ContactResolution(workspace_id, references).apply(range(len(references)))


class ContactResolution:
    """The contacts that a batch of references means: looked up at once, made and changed by `apply`.

    Contacts that exist and stay as they are cost one statement and no lock. Of several references to one new
    person, in this batch and in all others, exactly one has created it.
    """

    def __init__(self, workspace_id: UUID, references: Sequence[ContactReference]) -> None:
        self._workspace_id = workspace_id
        self._wanted = [_parse(reference) for reference in references]
        writing = _changes_in(self._wanted)
        self._search = _LookupBatch(self._wanted, writing)
        self._found = self._search.run(workspace_id)
        self._schema = self._found.schema
        self._mismatches: set[tuple[str, str]] = set()
        self._drafted: UnitOfWork | None = None
        self._settled = self._settle(self._wanted)
        self._expected = (
            self._resolve_before_write(writing)
            if None in self._settled
            else [settled for settled in self._settled if settled is not None]
        )

    @property
    def refusals(self) -> list[DomainError | None]:
        """Why a reference means nobody, None for the others; nothing is written yet."""
        return [result if isinstance(result, DomainError) else None for result in self._expected]

    def apply(self, places: Sequence[int]) -> list[Resolution | DomainError]:
        """Make and change what the references at `places` ask for; of the others nothing is written.

        Raises TryAgain if others win every race.
        """
        if (written := self._write_drafts(places)) is not None:
            return written
        for _ in range(_ATTEMPTS):
            wanted = [self._wanted[place] for place in places if self._settled[place] is None]
            try:
                made = iter(_attempt(self._workspace_id, wanted, self._unit_of_work()) if wanted else ())
            except WriteConflict:
                self._look_up_again([place for place in places if self._settled[place] is None])
                continue
            return [self._settled[place] or next(made) for place in places]
        raise TryAgain

    def _write_drafts(self, places: Sequence[int]) -> list[Resolution | DomainError] | None:
        """Write what was drafted before, if all of it is wanted and contacts are only made; else None."""
        unit_of_work, self._drafted = self._drafted, None
        if unit_of_work is None or len(places) < len(self._wanted):
            return None
        drafts = list(unit_of_work.drafts.values())
        if any(draft.before is not None for draft in drafts):
            return None
        self._settled = list(self._expected)
        if drafts:
            # Not released: that would take another statement.
            savepoint = transaction.savepoint()
            lost = create(self._workspace_id, drafts)
            if lost and not self._find_instead(lost):
                # Whoever changes contacts locks them before it has any identifier, so all begins anew.
                transaction.savepoint_rollback(savepoint)
                self._look_up_again(places)
                return None
            publish(self._workspace_id, [draft for draft in drafts if draft.id not in lost])
        return [self._settled[place] or self._expected[place] for place in places]

    def _find_instead(self, lost: set[UUID]) -> bool:
        """Find those whom others made in this moment. Returns whether that is all, and nobody is to be changed."""
        self._look_up_again(
            [
                place
                for place, expected in enumerate(self._expected)
                if isinstance(expected, Resolution) and expected.contact_id in lost
            ]
        )
        return None not in self._settled and not any(each.same_as for each in self._wanted)

    def _look_up_again(self, places: Sequence[int]) -> None:
        """Look up what some of the references mean now: others have written meanwhile."""
        wanted = [self._wanted[place] for place in places]
        writing = _changes_in(wanted)
        self._search = _LookupBatch(wanted, writing)
        self._search.add(self._schema, writing)
        self._found = self._search.run(self._workspace_id)
        for place, settled in zip(places, self._settle(wanted), strict=True):
            self._settled[place] = settled

    def _settle(self, wanted: Sequence["_ParsedReference"]) -> list[Resolution | DomainError | None]:
        """Return what each reference means for certain, whatever the others of the batch write; else None."""
        resolver = _Resolver(UnitOfWork(self._schema, self._found))
        settled = [resolver.resolved_without_write(each) for each in wanted]
        if None not in settled:
            return settled
        if any(each.updates for each in wanted):
            return [None] * len(settled)
        # Contacts are made, none is changed: of several identifiers another one may find a new contact.
        return [
            result
            if isinstance(result, Resolution) and len(each.identifiers) <= 1 and not each.same_as
            else None
            for each, result in zip(wanted, settled, strict=True)
        ]

    def _resolve_before_write(self, writing: Sequence[ContactChanges]) -> list[Resolution | DomainError]:
        """Return what the references mean if nobody else writes meanwhile."""
        self._mismatches = mismatches_in(self._schema, writing)
        if self._search.add(self._schema, writing):
            self._found = self._search.run(self._workspace_id)
            self._settled = self._settle(self._wanted)
        self._drafted = self._unit_of_work()
        resolver = _Resolver(self._drafted)
        return [
            settled or resolver.resolve(each)
            for each, settled in zip(self._wanted, self._settled, strict=True)
        ]

    def _unit_of_work(self) -> UnitOfWork:
        return UnitOfWork(self._schema, _copy(self._found), self._mismatches)


class _ParsedReference(msgspec.Struct, frozen=True):
    reference: ContactReference
    id: UUID | None
    identifiers: tuple[Identification, ...]
    updates: bool
    same_as: tuple[Identification, ...] = ()


def _changes_in(wanted: Sequence[_ParsedReference]) -> list[ContactChanges]:
    """Return the changes that references bring where they may be written, each once where there are none."""
    writing = [
        each.reference.changes for each in wanted if each.reference.if_missing == "create" or each.updates
    ]
    # Most of a batch only name a contact.
    return [NO_CHANGES] * bool(writing) + [changes for changes in writing if changes is not NO_CHANGES]


class _LookupBatch:
    """What to look up for a batch, with the schema where it has a say."""

    def __init__(self, wanted: Sequence[_ParsedReference], writing: Sequence[ContactChanges]) -> None:
        self.ids = {each.id for each in wanted if each.id is not None}
        self.identifiers = {key for each in wanted for key in each.identifiers}
        self.identifiers.update(key for each in wanted if each.same_as for key in each.same_as)
        self.identifiers.update(key for changes in writing for key in normalize_all(changes.identifiers))
        self.with_states = any(each.updates for each in wanted)
        self.with_schema = needs_schema(writing, self.identifiers)
        self.with_erased = bool(writing)

    def add(self, schema: ContactSchema, writing: Sequence[ContactChanges]) -> bool:
        """Take in the attributes that name contacts, and return whether there are any."""
        known = len(self.identifiers)
        self.identifiers.update(key for changes in writing for key in identifiers_in(schema, changes))
        return len(self.identifiers) > known

    def run(self, workspace_id: UUID) -> Found:
        """Look it all up."""
        return find(
            workspace_id,
            self.ids,
            self.identifiers,
            with_states=self.with_states,
            with_schema=self.with_schema,
            with_erased=self.with_erased,
        )


class _Resolver:
    """One pass over the references: nothing is written yet, later ones see what earlier ones made."""

    def __init__(self, unit_of_work: UnitOfWork) -> None:
        self.unit_of_work = unit_of_work
        self.made: set[UUID] = set()

    def resolved_without_write(self, wanted: _ParsedReference) -> Resolution | DomainError | None:
        """Return what a reference means if that takes no change, else None."""
        if (matched := self._match(wanted)) is not None:
            if wanted.updates:
                return None
            return self._with_apart(wanted, matched) if wanted.same_as else matched
        return ContactNotFound() if _must_exist(wanted) else None

    def resolve(self, wanted: _ParsedReference) -> Resolution | DomainError:
        """Return the contact that one reference means, drafting what it takes."""
        matched = self._match(wanted)
        try:
            if matched is None:
                matched = self._create(wanted)
            elif wanted.updates:
                self._update(wanted, matched.contact_id)
        except DomainError as error:
            return error
        return self._with_apart(wanted, matched)

    def _with_apart(self, wanted: _ParsedReference, resolution: Resolution) -> Resolution:
        """Return the resolution with the contacts that others of the reference's identifiers mean."""
        if not wanted.same_as:
            return resolution
        holders = [(self.unit_of_work.found.by_identifier.get(key), key) for key in wanted.same_as]
        apart = dict.fromkeys(
            holder
            for holder, key in holders
            if holder not in (None, resolution.contact_id)
            and not (key in wanted.identifiers and self._is_somebody_else(wanted, holder))
        )
        return msgspec.structs.replace(resolution, apart=tuple(apart)) if apart else resolution

    def _match(self, wanted: _ParsedReference) -> Resolution | None:
        found = self.unit_of_work.found
        if wanted.id is not None and (by_id := found.by_id.get(wanted.id)) is not None:
            return Resolution(by_id, created=False, came_with=wanted.id if by_id != wanted.id else None)
        if _ends_at_id(wanted):
            return None
        for key in wanted.identifiers:
            holder = found.by_identifier.get(key)
            if holder is not None and not self._is_somebody_else(wanted, holder):
                return Resolution(holder, created=False, came_with=found.owners.get(key))
        return None

    def _is_somebody_else(self, wanted: _ParsedReference, contact_id: UUID) -> bool:
        kind = wanted.reference.distinct_by
        if not kind:
            return False
        own = {key for key in wanted.identifiers if key[0] == kind}
        draft = self.unit_of_work.drafts.get(contact_id)
        state = draft.after if draft is not None else self.unit_of_work.found.states.get(contact_id)
        if not own or state is None:
            return False
        return own.isdisjoint(state.identifiers) and any(known == kind for known, _ in state.identifiers)

    def _create(self, wanted: _ParsedReference) -> Resolution:
        reference = wanted.reference
        if _must_exist(wanted):
            raise ContactNotFound
        changes = self.unit_of_work.check(reference.changes)
        added = normalize_all(changes.identifiers)
        if reference.identifiers and not wanted.identifiers:
            raise InvalidIdentifier(*reference.identifiers[0])
        if not (wanted.identifiers or added or changes.first_name or changes.last_name or changes.attributes):
            raise NoIdentity
        draft = self.unit_of_work.create()
        try:
            self.unit_of_work.apply(draft, changes, (*wanted.identifiers, *added))
        except DomainError:
            del self.unit_of_work.drafts[draft.id]
            raise
        return Resolution(draft.id, created=True)

    def _update(self, wanted: _ParsedReference, contact_id: UUID) -> None:
        changes = self.unit_of_work.check(wanted.reference.changes)
        # What found the contact says nothing new about it; an identifier beside it does.
        by = self.unit_of_work.found.by_identifier
        finder = next((key for key in wanted.identifiers if by.get(key) == contact_id), None)
        by_id = wanted.id is not None and self.unit_of_work.found.by_id.get(wanted.id) == contact_id
        identifiers = [key for key in wanted.identifiers if by_id or key != finder]
        identifiers += normalize_all(changes.identifiers)
        draft = self.unit_of_work.edit(contact_id)
        if wanted.reference.fills_in and not _is_anonymous(draft.after):
            changes = self.unit_of_work.missing_fields(draft, changes)
            identifiers = _missing_identifiers(draft.after, (*wanted.identifiers, *identifiers))
        # Each reference's changes are an occurrence of their own, as if the others had come before or after.
        draft.begin_step()
        self.unit_of_work.apply(draft, changes, identifiers)


def _parse(reference: ContactReference) -> _ParsedReference:
    identifiers = normalize_all(reference.identifiers) if reference.identifiers else ()
    updates = reference.update_matched and (
        len(identifiers) > 1
        or (bool(identifiers) and reference.id is not None)
        or reference.changes != NO_CHANGES
    )
    return _ParsedReference(
        reference,
        parse_uuid(reference.id) if reference.id else None,
        identifiers,
        updates,
        normalize_all(reference.same_as) if reference.same_as else (),
    )


def _is_anonymous(state: ContactState) -> bool:
    """Return whether only devices name the contact: who knows such a name is who made it."""
    return {kind for kind, _ in state.identifiers} == {Identifier.ANONYMOUS_ID}


def _missing_identifiers(state: ContactState, named: Collection[Identification]) -> list[Identification]:
    """Return which of the identifiers that an unchecked sender names a known contact gets: none, or those it lacks.

    It gets them from a device of its own: nobody else knows that anonymous id. A device that names somebody else has
    passed into other hands.
    """
    if not any(key[0] == Identifier.ANONYMOUS_ID and state.owns(key) for key in named):
        return []
    kinds = {kind for kind, _ in state.identifiers}
    others = [key for key in named if key[0] != Identifier.ANONYMOUS_ID and key not in state.identifiers]
    return [] if any(kind in kinds for kind, _ in others) else others


def _must_exist(wanted: _ParsedReference) -> bool:
    return wanted.reference.if_missing == "refuse" or _ends_at_id(wanted)


def _ends_at_id(wanted: _ParsedReference) -> bool:
    return bool(wanted.reference.id) and not wanted.reference.id_falls_back


def _attempt(
    workspace_id: UUID, wanted: Sequence[_ParsedReference], unit_of_work: UnitOfWork
) -> list[Resolution | DomainError]:
    known = _copy(unit_of_work.found)
    resolver = _Resolver(unit_of_work)
    results = [resolver.resolve(each) for each in wanted]
    dirty = [draft for draft in unit_of_work.drafts.values() if draft.is_dirty]
    if not dirty:
        return results
    with transaction.atomic():
        if all(draft.before is None for draft in dirty):
            if create(workspace_id, dirty):
                raise WriteConflict
            publish(workspace_id, dirty)
            return results
        changing = {draft.id for draft in dirty if draft.before is not None}
        unit_of_work = UnitOfWork(
            unit_of_work.schema, _locked(workspace_id, changing, known), unit_of_work.mismatches
        )
        resolver = _Resolver(unit_of_work)
        results = [resolver.resolve(each) for each in wanted]
        again = {d.id for d in unit_of_work.drafts.values() if d.before is not None and d.is_dirty}
        if not again <= changing:
            raise WriteConflict
        write(workspace_id, unit_of_work.drafts.values())
    return results


def _locked(workspace_id: UUID, contact_ids: set[UUID], found: Found) -> Found:
    """Return `found` with the states of the contacts as they are now that nobody else can change them."""
    if lock(workspace_id, contact_ids) != contact_ids:
        raise WriteConflict
    found.states.update(find(workspace_id, contact_ids, with_states=True).states)
    return found


def _copy(found: Found) -> Found:
    return Found(
        dict(found.by_id),
        dict(found.by_identifier),
        dict(found.owners),
        dict(found.states),
        erased=found.erased,
    )
