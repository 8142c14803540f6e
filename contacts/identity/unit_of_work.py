"""UnitOfWork: changes to contacts in memory, checked before they are written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from config import clock
from config.errors import DomainError
from config.ids import uuid7
from config.values.names import composed
from contacts.errors import IdentifierTaken, InvalidFieldValue, InvalidIdentifier, PersonErased
from contacts.identifiers import BUILT_IN_KINDS, Identification, normalize_all, normalize_identifier
from contacts.identity.lookup import Found
from contacts.models import Consent, Identifier
from contacts.profiles.schema import (
    MAX_NAME,
    ContactSchema,
    check_attributes,
    check_name,
    check_patterns,
    load_schema,
    refuse_too_many,
)
from contacts.profiles.state import ContactDraft, ContactState
from contacts.references import ContactChanges, PastConsent


@dataclass(slots=True)
class UnitOfWork:
    """The contacts under change in one call, and who is known by what meanwhile."""

    schema: ContactSchema
    found: Found
    mismatches: set[tuple[str, str]] = field(default_factory=set)
    drafts: dict[UUID, ContactDraft] = field(default_factory=dict)

    def check(self, changes: ContactChanges) -> ContactChanges:
        """Return `changes` with every value in its type. Raises InvalidFieldValue or InvalidIdentifier."""
        for pair in changes.attributes.items():
            if isinstance(pair[1], str) and pair in self.mismatches:
                raise InvalidFieldValue(pair[0], "a text that matches the field's pattern")
        return ContactChanges(
            None if changes.first_name is None else check_name("first_name", changes.first_name),
            None if changes.last_name is None else check_name("last_name", changes.last_name),
            check_attributes(self.schema, changes.attributes) if changes.attributes else {},
            changes.identifiers,
            tuple(_checked_tags(changes.tags)),
            _checked_consents(changes.consents),
            changes.clear_tags,
            _checked_past_consents(changes.past_consents),
        )

    def create(self) -> ContactDraft:
        """Begin a contact."""
        draft = ContactDraft(uuid7(), None, ContactState())
        self.drafts[draft.id] = draft
        return draft

    def edit(self, contact_id: UUID) -> ContactDraft:
        """Return the draft of a contact, which is begun if its state is known."""
        if (draft := self.drafts.get(contact_id)) is None:
            state = self.found.states[contact_id]
            draft = self.drafts[contact_id] = ContactDraft(contact_id, state, state.copy())
        return draft

    def missing_fields(self, draft: ContactDraft, changes: ContactChanges) -> ContactChanges:
        """Return those of checked `changes` that say what a contact lacks, but for what identifies or groups it."""
        state, identity = draft.after, self.schema.identity_field
        return ContactChanges(
            first_name=None if state.first_name else changes.first_name,
            last_name=None if state.last_name else changes.last_name,
            attributes={
                name: value
                for name, value in changes.attributes.items()
                if name != identity and state.attributes.get(name) in (None, "") and value is not None
            },
            consents={
                channel: status
                for channel, status in changes.consents.items()
                if channel not in state.consents
            },
            past_consents={
                channel: past
                for channel, past in changes.past_consents.items()
                if channel not in state.consents
            },
        )

    def apply(
        self,
        draft: ContactDraft,
        changes: ContactChanges,
        identifiers: Iterable[Identification],
        *,
        refuse_taken: bool = False,
    ) -> None:
        """Set checked `changes` and add normalised `identifiers`, of which those of others are left out.

        Raises IdentifierTaken if `refuse_taken`.
        """
        saved = draft.after.copy()
        try:
            self._identify(draft, identifiers, refuse_taken)
            self._set_attributes(draft, changes.attributes, refuse_taken)
            if changes.attributes:
                refuse_too_many(draft.after.attributes)
        except DomainError:
            self._restore(draft, saved)
            raise
        state = draft.after
        if changes.first_name is not None:
            state.first_name = changes.first_name
        if changes.last_name is not None:
            state.last_name = changes.last_name
        if changes.clear_tags:
            state.tags.clear()
        state.tags.update(dict.fromkeys(changes.tags))
        _set_consents(state, changes)

    def _restore(self, draft: ContactDraft, saved: ContactState) -> None:
        holders = self.found.by_identifier
        for key in draft.after.identifiers.keys() - saved.identifiers.keys():
            holders.pop(key, None)
        holders.update(dict.fromkeys(saved.identifiers, draft.id))
        draft.after = saved

    def _identify(
        self, draft: ContactDraft, identifiers: Iterable[Identification], refuse_taken: bool
    ) -> None:
        kinds = set()
        for key in identifiers:
            if not self._claim(draft, key, refuse_taken):
                continue
            if key[0] not in kinds and not _keeps_primary(draft.after, key[0]):
                _make_primary(draft.after, key)
            kinds.add(key[0])
            if key[0] not in BUILT_IN_KINDS:
                self._mirror(draft, key)

    def _mirror(self, draft: ContactDraft, key: Identification) -> None:
        """Keep the attribute that a contact's name in its workspace also is."""
        if key in draft.after.owners:
            return
        name, value = key
        self._remove_other_identifiers(draft, key)
        spec = self.schema.fields.get(name)
        if spec is not None:
            value = check_attributes(self.schema, {name: value})[name]
        draft.after.attributes[name] = value

    def _set_attributes(self, draft: ContactDraft, attributes: Mapping[str, Any], refuse_taken: bool) -> None:
        identity = self.schema.identity_field
        for name, value in attributes.items():
            is_identity = name == identity and name not in BUILT_IN_KINDS
            if is_identity and not self._set_identity(draft, name, value, refuse_taken):
                continue
            if value is None:
                draft.after.attributes.pop(name, None)
            else:
                draft.after.attributes[name] = value

    def _set_identity(self, draft: ContactDraft, kind: str, value: Any, refuse_taken: bool) -> bool:
        if value is None:
            self._remove_other_identifiers(draft, (kind, ""))
            return True
        normalized = normalize_identifier(kind, value)
        if normalized is None:
            raise InvalidIdentifier(kind, value)
        if not self._claim(draft, (kind, normalized), refuse_taken) or (
            # The name of one merged into it: the contact keeps its own.
            (kind, normalized) in draft.after.owners
        ):
            return False
        self._remove_other_identifiers(draft, (kind, normalized))
        draft.after.identifiers[kind, normalized] = True
        return True

    def _claim(self, draft: ContactDraft, key: Identification, refuse_taken: bool) -> bool:
        if key in self.found.erased:
            raise PersonErased(key[0])
        holder = self.found.by_identifier.setdefault(key, draft.id)
        if holder != draft.id:
            if refuse_taken:
                raise IdentifierTaken(*key)
            return False
        draft.after.identifiers.setdefault(key, False)
        return True

    def _remove_other_identifiers(self, draft: ContactDraft, key: Identification) -> None:
        known = draft.after.identifiers.keys() - draft.after.owners.keys()
        for other in [known_key for known_key in known if known_key[0] == key[0] and known_key != key]:
            del draft.after.identifiers[other]
            self.found.by_identifier.pop(other, None)


def schema_for(
    workspace_id: UUID, changes: Iterable[ContactChanges], identifiers: Iterable[Identification] = ()
) -> ContactSchema:
    """Return the workspace's schema, read only if something depends on it."""
    return load_schema(workspace_id) if needs_schema(changes, identifiers) else ContactSchema()


def needs_schema(changes: Iterable[ContactChanges], identifiers: Iterable[Identification] = ()) -> bool:
    """Return whether the schema has a say in any of this."""
    kinds = [kind for kind, _ in identifiers]
    for change in changes:
        if change.attributes:
            return True
        kinds += [kind for kind, _ in change.identifiers]
    return not BUILT_IN_KINDS.issuperset(kinds)


def mismatches_in(schema: ContactSchema, changes: Iterable[ContactChanges]) -> set[tuple[str, str]]:
    """Return the attribute values that do not match their field's pattern."""
    if not any(spec.pattern for spec in schema.fields.values()):
        return set()
    return check_patterns(schema, [change.attributes for change in changes])


def identifiers_in(schema: ContactSchema, changes: ContactChanges) -> tuple[Identification, ...]:
    """Return every identifier that the changes would add, the identity field's among them."""
    identity = schema.identity_field
    named = identity in changes.attributes and identity not in BUILT_IN_KINDS
    return normalize_all(
        (*changes.identifiers, (identity, changes.attributes[identity])) if named else changes.identifiers
    )


def _keeps_primary(state: ContactState, kind: str) -> bool:
    """Return whether the primary one of a kind stays: nobody is written to at a device, and each event names one."""
    return kind == Identifier.ANONYMOUS_ID and state.primary(kind) is not None


def _make_primary(state: ContactState, key: Identification) -> None:
    if state.identifiers[key]:
        return
    for other in state.identifiers:
        if other[0] == key[0]:
            state.identifiers[other] = False
    state.identifiers[key] = True


def _set_consents(state: ContactState, changes: ContactChanges) -> None:
    if not (changes.consents or changes.past_consents):
        return
    now = clock.now()
    for channel, status in changes.consents.items():
        state.set_consent(channel, status, now)
    for channel, past in changes.past_consents.items():
        state.add_past_consent(channel, past, now)


def _checked_tags(tags: Iterable[object]) -> Iterable[str]:
    for tag in tags:
        if not isinstance(tag, str) or "\x00" in tag or len(tag.strip()) > MAX_NAME:
            raise InvalidFieldValue("tags", f"texts of at most {MAX_NAME} characters")
        if tag.strip():
            yield composed(tag.strip())


def _checked_consents(consents: Mapping[str, str]) -> dict[str, str]:
    for channel, status in consents.items():
        if channel not in Consent.Channel.values or status not in Consent.Status.values:
            raise InvalidFieldValue("consents", "opted_in or opted_out, by channel")
    return {str(channel): str(status) for channel, status in consents.items()}


def _checked_past_consents(consents: Mapping[str, PastConsent]) -> Mapping[str, PastConsent]:
    if consents:
        _checked_consents({channel: past.status for channel, past in consents.items()})
    return consents
