"""Versioned cache: what effects compile from a workspace's rules, kept as long as the rules version is the same."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

MAX_CACHED_WORKSPACES: Final = 64
"""Workspaces of which a process keeps what it made, the last ones used."""

Plan = TypeVar("Plan")


class VersionedCache(Generic[Plan]):
    """A cached value per workspace, with the fingerprint of the rules that it was made from."""

    def __init__(self) -> None:
        self._entries: OrderedDict[UUID, tuple[tuple[Any, ...], Plan]] = OrderedDict()
        self._lock = threading.Lock()

    def peek(self, workspace_id: UUID, rules_version: int | None) -> Plan | None:
        """Return the cached value for this rules version, None if there is none."""
        kept = self._entries.get(workspace_id)
        return kept[1] if kept is not None and kept[0][0] == rules_version else None

    def get(self, workspace_id: UUID, fingerprint: tuple[Any, ...], make: Callable[[], Plan]) -> Plan:
        """Return the value for this fingerprint, made if it is not cached."""
        kept = self._entries.get(workspace_id)
        plan = kept[1] if kept is not None and kept[0] == fingerprint else make()
        with self._lock:
            self._entries[workspace_id] = fingerprint, plan
            self._entries.move_to_end(workspace_id)
            if len(self._entries) > MAX_CACHED_WORKSPACES:
                self._entries.popitem(last=False)
        return plan


class VersionedEventNames:
    """The event names that a workspace's rules of one kind refer to, cached by rules version."""

    def __init__(self, read: Callable[[UUID], Iterable[str]]) -> None:
        self._read = read
        self._names: VersionedCache[frozenset[str]] = VersionedCache()

    def may_include(self, workspace_id: UUID, rules_version: int | None, names: frozenset[str]) -> bool:
        """Return whether some rule may refer to one of the names. Costs no statement."""
        kept = self._names.peek(workspace_id, rules_version)
        return bool(names) and (kept is None or not kept.isdisjoint(names))

    def keep(self, workspace_id: UUID, rules_version: int | None) -> None:
        """Load the names unless cached; the caller has locked the rules, at that version."""
        if rules_version is not None:
            self._names.get(workspace_id, (rules_version,), lambda: frozenset(self._read(workspace_id)))
