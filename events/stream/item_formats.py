"""Items of batches: how each wire format parses one, and what its parser refused.

The quarantine keeps what a format of `settings.ITEM_FORMATS` refused under the format's name, and a replay hands it
to the same parser.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, ClassVar

from django.conf import settings
from django.utils.module_loading import import_string

from config.errors import DomainError
from events.stream.types import IncomingEvent, SchemaPolicy

Parse = Callable[[Any], IncomingEvent | None]
"""Makes an event of an item; None: it is not for us."""


class ItemFormat(ABC):
    """A wire format that has batches of events."""

    name: ClassVar[str]
    schema_policy: ClassVar[SchemaPolicy] = SchemaPolicy.OPEN
    refusals: ClassVar[tuple[type[Exception], ...]] = (DomainError,)
    """What `parse` raises for an item that is refused."""

    @abstractmethod
    def parse(self, item: Any, shared: Mapping[str, Any], received_at: datetime) -> IncomingEvent | None:
        """Return the event of an item; None: it is not for us. `shared`: what its batch says of all items."""

    def cause(self, error: Exception) -> tuple[str, str]:
        """Return the code and the message of a refusal."""
        return getattr(error, "code", "invalid"), getattr(error, "message", "") or str(error)

    @abstractmethod
    def event_name(self, item: Mapping[str, Any]) -> object:
        """Return what stands where an item has its event's name."""


@dataclass(frozen=True, slots=True)
class UnparsedItem:
    """An item that its format's parser refused, as it was sent, and why."""

    item: Any
    error: Exception


@dataclass(frozen=True, slots=True)
class ParsedItems:
    """The items of a batch, by their place: the event, or what was refused; None: it is not for us."""

    format: ItemFormat
    results: Sequence[IncomingEvent | UnparsedItem | None]
    # JSON: what the batch says of all its items, for the parser of a replay.
    shared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def events(self) -> list[IncomingEvent]:
        """Those that can be recorded."""
        return [each for each in self.results if isinstance(each, IncomingEvent)]

    @property
    def unparsed(self) -> list[UnparsedItem]:
        """Those that were refused."""
        return [each for each in self.results if isinstance(each, UnparsedItem)]


def parse_items(
    item_format: ItemFormat,
    items: Sequence[Any],
    received_at: datetime,
    *,
    shared: Mapping[str, Any] | None = None,
    parse: Parse | None = None,
) -> ParsedItems:
    """Parse each item of a batch by itself. `parse`: a quicker way than the format's to the same."""
    shared = shared or {}
    results: list[IncomingEvent | UnparsedItem | None] = []
    for item in items:
        try:
            results.append(parse(item) if parse else item_format.parse(item, shared, received_at))
        except item_format.refusals as error:
            results.append(UnparsedItem(item, error))
    return ParsedItems(item_format, results, shared)


@cache
def item_formats() -> Mapping[str, ItemFormat]:
    """Return all formats by their names."""
    found: list[ItemFormat] = [import_string(path) for path in settings.ITEM_FORMATS]
    return {each.name: each for each in found}
