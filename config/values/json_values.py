"""JsonValue: a part of a JSON document that knows its path, for parsers whose errors say where the fault is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn
from uuid import UUID

from config.ids import parse_uuid
from config.values.names import composed


@dataclass(slots=True)
class JsonValue:
    """A value at a path such as `workflow.nodes[2].data`. Every reader raises `error(path, message)`."""

    raw: Any
    path: str
    error: Callable[[str, str], Exception]

    def fail(self, message: str) -> NoReturn:
        """Raise the error of this value."""
        raise self.error(self.path, message)

    def get(self, key: str, default: object = None) -> JsonValue:
        """Return the value of an object's key; `default` if the key is missing, not if it is null."""
        path = f"{self.path}.{key}" if self.path else key
        return JsonValue(self.raw.get(key, default), path, self.error)

    def as_object(self, keys: set[str] | frozenset[str] | None = None) -> JsonValue:
        """Require an object; `keys`: that has no other keys."""
        if not isinstance(self.raw, dict):
            self.fail("Must be an object.")
        if keys is not None and (unknown := sorted(set(self.raw) - keys)):
            self.get(unknown[0]).fail("This key is not known.")
        return self

    def replace(self, raw: Any) -> JsonValue:
        """Return another value at the same path."""
        return JsonValue(raw, self.path, self.error)

    def items(self, at_most: int | None = None) -> Iterator[JsonValue]:
        """Yield the items of a list; none of null."""
        if self.raw is None:
            return
        if not isinstance(self.raw, list):
            self.fail("Must be a list.")
        if at_most is not None and len(self.raw) > at_most:
            self.fail(f"There may be at most {at_most}.")
        for place, item in enumerate(self.raw):
            yield JsonValue(item, f"{self.path}[{place}]", self.error)

    def text(self, max_length: int) -> str:
        """Return a text that is not blank, stripped and in NFC."""
        raw = self.raw
        if not isinstance(raw, str) or not 0 < len(raw.strip()) <= max_length or "\x00" in raw:
            self.fail(f"Must be a text of 1 to {max_length} characters.")
        return composed(raw.strip())

    def flag(self) -> bool:
        """Return a boolean."""
        if not isinstance(self.raw, bool):
            self.fail("Must be true or false.")
        return self.raw

    def uuid(self) -> UUID:
        """Return an id."""
        found = parse_uuid(self.raw)
        if found is None:
            self.fail("An id is needed.")
        return found
