"""Dump, plan and apply a configuration: what a workspace has, what a folder says, and how the two differ."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Literal
from uuid import UUID

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db import transaction
from rest_framework.exceptions import ValidationError

from campaigns.configuration.folders import Document, file_names
from campaigns.configuration.kinds import KINDS, Kind, Target
from campaigns.configuration.references import SEGMENT, TEMPLATE, Names
from campaigns.errors import (
    ConfigurationChanged,
    ConfigurationFault,
    InvalidConfiguration,
    InvalidDefinition,
)
from config.db.read_once import reading_once
from config.errors import DomainError, InvalidValue
from config.files.documents import InvalidDocument, dump_document, spelling
from events.errors import InvalidCondition
from events.processing.passes import bump_rules_version
from workspaces.api.strict import wire_names
from workspaces.models import AuditEntry, User, Workspace

_FLAGS: Final = {"created": ADDITION, "changed": CHANGE, "deleted": DELETION}
_REFERRED: Final = {"segments": SEGMENT, "templates": TEMPLATE}
"""The kinds that others name, by folder."""
_FINGERPRINT: Final = 16
_AUDITED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as it is: its row, its document, and that as a text to compare."""

    row: Any
    document: Mapping[str, Any]
    spelling: str

    @property
    def text(self) -> str:
        """Return the object's file."""
        return dump_document(self.document)


Snapshot = dict[str, dict[str, Entry]]
"""By the kind's folder and the name."""


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an object: its file, and the row and text of it before and after."""

    kind: Kind
    name: str
    path: str
    action: Literal["created", "changed", "deleted"]
    before: Entry | None
    after: Entry | None

    @property
    def row(self) -> Any:
        """Return the row as it is after the change, or was before it was deleted."""
        entry = self.after or self.before
        return entry.row if entry is not None else None

    @property
    def difference(self) -> str:
        """Return the unified difference of the texts; blank unless it is changed."""
        if self.before is None or self.after is None:
            return ""
        before, after = (entry.text.splitlines(keepends=True) for entry in (self.before, self.after))
        return "".join(difflib.unified_diff(before, after, f"workspace/{self.path}", f"folder/{self.path}"))


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that the folder does not have, and that stays; `reason`: why, where it should have gone."""

    kind: Kind
    name: str
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an application changes. `fingerprint`: of the workspace before and after it."""

    changes: list[Change]
    leftovers: list[Leftover]
    fingerprint: str

    def count(self, action: str) -> int:
        """Return how many objects are created, changed or deleted."""
        return sum(change.action == action for change in self.changes)


def dump_configuration(workspace_id: UUID) -> dict[str, str]:
    """Return the files of a workspace's configuration by path. Raises InvalidConfiguration for a name used twice."""
    snapshot = _snapshot(workspace_id)
    return {
        f"{folder}/{file}": entries[name].text
        for folder, entries in snapshot.items()
        for name, file in sorted(file_names(entries).items(), key=lambda item: item[1])
    }


@transaction.atomic
def plan_configuration(
    workspace: Workspace, documents: Mapping[str, Sequence[Document]], *, prune: bool = False
) -> Plan:
    """Return what `apply_configuration` would do: it is done, with all its checks, and undone.

    Raises InvalidConfiguration.
    """
    plan = _carry_out(Target(workspace, is_trial=True), documents, prune)
    transaction.set_rollback(True)
    return plan


@transaction.atomic
def apply_configuration(
    workspace: Workspace,
    documents: Mapping[str, Sequence[Document]],
    *,
    user: User,
    source: str,
    prune: bool = False,
    expected: str | None = None,
) -> Plan:
    """Make a workspace what a folder says, all of it or nothing; the audit log says who did it and from where.

    `prune`: of kinds that the folder has, delete what it does not. `expected`: the fingerprint of a plan.
    Raises InvalidConfiguration, ConfigurationChanged.
    """
    plan = _carry_out(Target(workspace, actor=str(user)), documents, prune)
    if expected is not None and expected != plan.fingerprint:
        raise ConfigurationChanged(expected, plan.fingerprint)
    _record(workspace.id, user, source, plan)
    return plan


def _carry_out(target: Target, documents: Mapping[str, Sequence[Document]], prune: bool) -> Plan:
    wanted = _by_name(documents)
    workspace_id = target.workspace.id
    # Waits for effects under the old rules, and for others who edit.
    bump_rules_version(workspace_id)
    before = _snapshot(workspace_id)
    target.names = _names(before, wanted if prune else {})
    is_saved = [_save_all(kind, target, wanted.get(kind.folder, {}), before[kind.folder]) for kind in KINDS]
    kept = _prune(target, wanted, before) if prune else {}
    after = _snapshot(workspace_id) if prune or any(is_saved) else before
    if prune:
        _leave_out(after, wanted, kept)
    paths = _paths(before, wanted)
    return Plan(
        list(_changes(before, after, paths)),
        list(_leftovers(after, wanted, kept, paths)),
        _fingerprint(before, after),
    )


def _snapshot(workspace_id: UUID) -> Snapshot:
    """Return every object of a workspace. Raises InvalidConfiguration for a name used twice."""
    rows = {kind.folder: list(kind.rows(workspace_id)) for kind in KINDS}
    names = Names({kind: {row.id: row.name for row in rows[folder]} for folder, kind in _REFERRED.items()})
    found: Snapshot = {}
    for kind in KINDS:
        entries: dict[str, Entry] = {}
        for row in rows[kind.folder]:
            name = kind.name_of(row)
            if name in entries:
                fault = f"Two are called “{name}”: files know them by their names, so rename one."
                raise InvalidConfiguration([ConfigurationFault(kind.folder, "", fault)])
            document = kind.document_of(row, names)
            entries[name] = Entry(row, document, spelling(document))
        found[kind.folder] = entries
    return found


def _by_name(documents: Mapping[str, Sequence[Document]]) -> dict[str, dict[str, Document]]:
    """Return documents by kind and name. Raises InvalidConfiguration with all that have none, or another's."""
    found: dict[str, dict[str, Document]] = {}
    faults: list[ConfigurationFault] = []
    for kind in KINDS:
        if kind.folder not in documents:
            continue
        named = found.setdefault(kind.folder, {})
        for document in documents[kind.folder]:
            try:
                name = kind.name_in(document.value)
            except InvalidDocument as error:
                faults.append(ConfigurationFault(document.path, error.path, error.message))
                continue
            if name in named:
                fault = f"{named[name].path} has the same, “{name}”."
                faults.append(ConfigurationFault(document.path, kind.key, fault))
            named[name] = document
    if faults:
        raise InvalidConfiguration(faults)
    return found


def _names(before: Snapshot, pruned_to: Mapping[str, Mapping[str, Document]]) -> Names:
    """Return what can be referred to: what is there, but of kinds that are pruned only what stays."""
    return Names(
        {
            kind: {
                entry.row.id: name
                for name, entry in before[folder].items()
                if folder not in pruned_to or name in pruned_to[folder]
            }
            for folder, kind in _REFERRED.items()
        }
    )


@reading_once()  # of one kind at a time, for what a kind reads another has changed
def _save_all(
    kind: Kind, target: Target, wanted: Mapping[str, Document], standing: Mapping[str, Entry]
) -> bool:
    """Save what differs. Returns whether something did. Raises InvalidConfiguration."""
    with _faults_of(kind, kind.folder):
        order = kind.ordered({name: document.value for name, document in wanted.items()})
    completed = {name: kind.completed(wanted[name].value) for name in order}
    differing = [
        name for name in order if name not in standing or standing[name].spelling != spelling(completed[name])
    ]
    if not differing:
        return False
    rows = {name: copy(standing[name].row) if name in standing else None for name in differing}
    edits = kind.edits(target, rows)
    for name in differing:
        with _faults_of(kind, wanted[name].path):
            if rows[name] is None and name != name.strip():
                raise InvalidDocument(kind.key, "It begins or ends with a space.")
            kind.save(target, edits, rows[name], kind.values_in(target, rows[name], completed[name]))
    if edits is not None:
        _write(kind, edits, wanted)
    return True


def _write(kind: Kind, edits: Any, wanted: Mapping[str, Document]) -> None:
    """Write all edits of a kind. Raises InvalidConfiguration, with the file of the name that an error is of."""
    try:
        edits.write()
    except DomainError as error:
        named = wanted.get(getattr(error, "name", ""))
        with _faults_of(kind, named.path if named is not None else kind.folder):
            raise


def _prune(
    target: Target, wanted: Mapping[str, Mapping[str, Document]], before: Snapshot
) -> dict[tuple[str, str], str]:
    """Delete what the folder does not have, of its kinds. Returns what others need, with why it stays."""
    kept: dict[tuple[str, str], str] = {}
    for kind in reversed(KINDS):
        gone = {} if kind.folder not in wanted else before[kind.folder]
        waiting = [
            name for name in gone if name not in wanted[kind.folder] and kind.is_deletable(gone[name].row)
        ]
        # What builds on another goes before it.
        while waiting:
            refused = {name: fault for name in waiting if (fault := _refusal(kind, target, gone[name].row))}
            if len(refused) == len(waiting):
                kept.update({(kind.folder, name): fault for name, fault in refused.items()})
                break
            waiting = list(refused)
    return kept


def _refusal(kind: Kind, target: Target, row: Any) -> str:
    """Delete an object. Returns why it cannot be, else nothing."""
    try:
        kind.delete(target, copy(row))  # which loses its id
    except DomainError as error:
        return error.sentence
    return ""


def _leave_out(
    after: Snapshot, wanted: Mapping[str, Mapping[str, Document]], kept: Mapping[tuple[str, str], str]
) -> None:
    """Take out what is pruned, also where a trial has left it in place."""
    for kind in KINDS:
        if kind.folder in wanted:
            after[kind.folder] = {
                name: entry
                for name, entry in after[kind.folder].items()
                if name in wanted[kind.folder]
                or (kind.folder, name) in kept
                or not kind.is_deletable(entry.row)
            }


def _paths(before: Snapshot, wanted: Mapping[str, Mapping[str, Document]]) -> dict[tuple[str, str], str]:
    """Return the file of every object: where it is, else where a dump would put it."""
    paths: dict[tuple[str, str], str] = {}
    for folder, entries in before.items():
        paths |= {(folder, name): f"{folder}/{file}" for name, file in file_names(entries).items()}
    for folder, documents in wanted.items():
        paths |= {(folder, name): document.path for name, document in documents.items()}
    return paths


def _changes(before: Snapshot, after: Snapshot, paths: Mapping[tuple[str, str], str]) -> Iterator[Change]:
    for kind in KINDS:
        old, new = before[kind.folder], after[kind.folder]
        for name in sorted(old | new):
            was, is_now = old.get(name), new.get(name)
            if was is not None and is_now is not None and was.spelling == is_now.spelling:
                continue
            action: Any = "created" if was is None else "deleted" if is_now is None else "changed"
            yield Change(kind, name, paths[kind.folder, name], action, was, is_now)


def _leftovers(
    after: Snapshot,
    wanted: Mapping[str, Mapping[str, Document]],
    kept: Mapping[tuple[str, str], str],
    paths: Mapping[tuple[str, str], str],
) -> Iterator[Leftover]:
    for kind in KINDS:
        for name in sorted(after[kind.folder]):
            place = kind.folder, name
            if name not in wanted.get(kind.folder, {}) and not kind.is_untouched(
                after[kind.folder][name].document
            ):
                yield Leftover(kind, name, paths[place], kept.get(place, ""))


def _fingerprint(before: Snapshot, after: Snapshot) -> str:
    texts = [
        {
            folder: {name: entry.spelling for name, entry in entries.items()}
            for folder, entries in snapshot.items()
        }
        for snapshot in (before, after)
    ]
    return hashlib.sha256(json.dumps(texts, sort_keys=True).encode()).hexdigest()[:_FINGERPRINT]


def _record(workspace_id: UUID, user: User, source: str, plan: Plan) -> None:
    """Write an entry of the audit log for every object that was changed."""
    message = f"Configuration applied from {source}, plan {plan.fingerprint}"
    entries: list[LogEntry] = []
    for action, changes in groupby(plan.changes, key=attrgetter("action")):
        rows = [change.row for change in changes]
        for start in range(0, len(rows), _AUDITED_AT_ONCE):
            chosen = rows[start : start + _AUDITED_AT_ONCE]
            entries += LogEntry.objects.log_actions(user.pk, chosen, _FLAGS[action], message)
    AuditEntry.objects.bulk_create(
        (AuditEntry(workspace_id=workspace_id, entry=entry) for entry in entries), batch_size=_AUDITED_AT_ONCE
    )


@contextmanager
def _faults_of(kind: Kind, file: str) -> Iterator[None]:
    """Name the file of an error, and the place in it. Raises InvalidConfiguration."""
    try:
        yield
    except InvalidDocument as error:
        raise _invalid(file, error.path, error.message) from error
    except ValidationError as error:
        faults = [ConfigurationFault(file, path, message) for path, message in _flattened(error.detail, "")]
        raise InvalidConfiguration(faults) from error
    except InvalidCondition as error:
        raise _invalid(file, f"rules.{error.path}".rstrip("."), error.message) from error
    except InvalidDefinition as error:
        raise _invalid(file, error.path, error.detail) from error
    except InvalidValue as error:
        names: Mapping[str, str] = wire_names(kind.serializer)  # type: ignore[arg-type]  # kinds have serializers
        raise _invalid(file, names.get(error.field, error.field), error.message) from error
    except DomainError as error:
        raise _invalid(file, "", error.sentence) from error


def _invalid(file: str, path: str, message: str) -> InvalidConfiguration:
    return InvalidConfiguration([ConfigurationFault(file, path, message)])


def _flattened(detail: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield the messages of a ValidationError with their paths."""
    if isinstance(detail, Mapping):
        for key, item in detail.items():
            below = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip(".")
            yield from _flattened(item, path if key == "non_field_errors" else below)
    elif isinstance(detail, list):
        for place, item in enumerate(detail):
            is_text = isinstance(item, str)
            yield from _flattened(item, path if is_text else f"{path}[{place}]")
    else:
        yield path, str(detail)
