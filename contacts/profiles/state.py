"""A contact's state in memory, before and after a change, and the differences as ContactChanges."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

from contacts.identifiers import Identification
from contacts.models import Consent
from contacts.references import PastConsent
from contacts.signals import ContactChange


class ConsentTime(NamedTuple):
    """When a person said so; where that is not known, when a file did."""

    at: datetime
    is_dated: bool = True


_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class ContactState:
    """A contact's own facts and the rows that hang on it."""

    first_name: str = ""
    last_name: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    # To whether it is the primary one of its kind.
    identifiers: dict[Identification, bool] = field(default_factory=dict)
    tags: dict[str, None] = field(default_factory=dict)
    consents: dict[str, str] = field(default_factory=dict)
    # Those merged into it, whose identifiers, tags and consents are told as its own, and whose an identifier is.
    merged: tuple[UUID, ...] = ()
    owners: dict[Identification, UUID] = field(default_factory=dict)
    # By channel; of each consent.
    consent_times: dict[str, ConsentTime] = field(default_factory=dict)

    def copy(self) -> "ContactState":
        """Return a copy that shares nothing which changes."""
        return ContactState(
            self.first_name,
            self.last_name,
            dict(self.attributes),
            dict(self.identifiers),
            dict(self.tags),
            dict(self.consents),
            self.merged,
            self.owners,
            dict(self.consent_times),
        )

    def primary(self, kind: str) -> str | None:
        """Return the primary identifier of a kind."""
        return next((key[1] for key, primary in self.identifiers.items() if primary and key[0] == kind), None)

    def owns(self, key: Identification) -> bool:
        """Return whether an identifier is the contact's own, not that of one merged into it."""
        return key in self.identifiers and key not in self.owners

    def set_consent(self, channel: str, status: str, now: datetime) -> None:
        """Set what the person says now; an opt-out that is said again is a newer one."""
        known, time = self.consents.get(channel), self.consent_times.get(channel)
        is_news = known != status or status == Consent.Status.OPTED_OUT
        if is_news or (time is not None and not time.is_dated):
            self.consents[channel], self.consent_times[channel] = status, ConsentTime(now)

    def add_past_consent(self, channel: str, past: PastConsent, now: datetime) -> None:
        """Set what the person said before, unless what is known was said later."""
        known = self.consents.get(channel)
        if known is not None and not past.overwrites and not self._is_outdated(channel, past):
            return
        if known != past.status or past.at is not None:
            self.consents[channel] = past.status
            self.consent_times[channel] = ConsentTime(past.at or now, past.at is not None)

    def _is_outdated(self, channel: str, past: PastConsent) -> bool:
        """Return whether what is known is older than a consent.

        Without a time an opt-out is as new as its file, to be on the safe side, and an opt-in older than all else.
        """
        known, time = self.consents[channel], self.consent_times[channel]
        if past.at is None:
            return past.status == Consent.Status.OPTED_OUT != known
        is_of_old = known == Consent.Status.OPTED_IN and not time.is_dated
        known_at = _LONG_AGO if is_of_old else time.at
        if past.at == known_at:
            return past.status == Consent.Status.OPTED_OUT != known
        return past.at > known_at


@dataclass(slots=True)
class ContactDraft:
    """A contact under change; one without `before` is new."""

    id: UUID
    before: ContactState | None
    after: ContactState
    # What it was in between, where several change it in one call: what happened is told step by step.
    between: list[ContactState] = field(default_factory=list)

    @property
    def is_dirty(self) -> bool:
        """Whether anything is to be written."""
        return (
            self.before is None
            or bool(self.between)
            or self.before != self.after
            or differ(self.before.attributes, self.after.attributes)
        )

    def begin_step(self) -> None:
        """Begin a step: changes from now on are published apart from those so far."""
        if self.is_dirty:
            self.between.append(self.after.copy())

    @property
    def old(self) -> ContactState:
        """The state before, empty for a new contact."""
        return self.before or _NOTHING

    def owner_of(self, key: Identification) -> UUID:
        """Return which contact of the person has an identifier."""
        return self.old.owners.get(key, self.id)

    @property
    def added_identifiers(self) -> list[Identification]:
        """The identifiers that the contact did not have."""
        return [key for key in self.after.identifiers if key not in self.old.identifiers]


_NOTHING = ContactState()


def changes_of(draft: ContactDraft) -> Iterator[ContactChange]:
    """Yield what happened to the contact: step by step, and of a step the most general first."""
    for before, after in pairwise((draft.before, *draft.between, draft.after)):
        assert after is not None  # noqa: S101  (only a new contact's first state is)
        yield from _changes_of_step(draft.id, before, after)


def _changes_of_step(
    contact_id: UUID, before: ContactState | None, after: ContactState
) -> Iterator[ContactChange]:
    was = before or _NOTHING
    old, new = _differences(was, after)
    if before is None:
        yield ContactChange(contact_id, "created", {}, new)
    elif old or new:
        yield ContactChange(contact_id, "updated", old, new)
    if tags := [tag for tag in after.tags if tag not in was.tags]:
        yield ContactChange(contact_id, "tagged", {}, {"tags": tags})
    yield from _consent_changes(contact_id, was, after)


def description_of(state: ContactState) -> dict[str, Any]:
    """Return all that is known of a contact, in the keys of a ContactChange."""
    _, everything = _differences(_NOTHING, state)
    return {**everything, "tags": list(state.tags)} if state.tags else everything


def _differences(old: ContactState, new: ContactState) -> tuple[dict[str, Any], dict[str, Any]]:
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    for name in ("first_name", "last_name"):
        _note(name, getattr(old, name), getattr(new, name), before, after)
    _note_keys("attributes", old.attributes, new.attributes, before, after)
    for kind in dict.fromkeys(key[0] for key in (*old.identifiers, *new.identifiers)):
        _note(kind, old.primary(kind), new.primary(kind), before, after)
    if gone := [key for key in old.identifiers if key not in new.identifiers]:
        before["identifiers"] = _as_objects(gone)
    if added := [key for key in new.identifiers if key not in old.identifiers]:
        after["identifiers"] = _as_objects(added)
    if removed := [tag for tag in old.tags if tag not in new.tags]:
        before["tags"], after["tags"] = removed, []
    return before, after


def _note(name: str, old: Any, new: Any, before: dict[str, Any], after: dict[str, Any]) -> None:
    if old == new:
        return
    if old not in (None, ""):
        before[name] = old
    if new not in (None, "") or name in before:
        after[name] = new


def _note_keys(
    name: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    keys = [key for key in {**old, **new} if key not in old or key not in new or differ(old[key], new[key])]
    if was := {key: old[key] for key in keys if key in old}:
        before[name] = was
    if keys:
        after[name] = {key: new.get(key) for key in keys}


def differ(old: Any, new: Any) -> bool:
    """Return whether two JSON values differ; to Python, but not to JSON, 1 is true."""
    match old, new:
        case (dict(), dict()):
            return old.keys() != new.keys() or any(differ(old[key], new[key]) for key in old)
        case (list(), list()):
            return len(old) != len(new) or any(map(differ, old, new))
        case _:
            return isinstance(old, bool) is not isinstance(new, bool) or bool(old != new)


def _consent_changes(contact_id: UUID, before: ContactState, after: ContactState) -> Iterator[ContactChange]:
    for channel, status in after.consents.items():
        was = before.consents.get(channel)
        if was != status:
            yield ContactChange(
                contact_id,
                "subscribed" if status == Consent.Status.OPTED_IN else "unsubscribed",
                {"channel": channel, "status": was} if was else {},
                {"channel": channel, "status": status},
            )


def _as_objects(identifiers: list[Identification]) -> list[dict[str, str]]:
    return [{"kind": kind, "value": value} for kind, value in identifiers]
