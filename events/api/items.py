"""Items of the native API's batches."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rest_framework.exceptions import ValidationError

from config.errors import DomainError
from events.api.shapes import BatchItem, read
from events.stream.item_formats import ItemFormat
from events.stream.types import IncomingEvent
from workspaces.api.errors import NATIVE_ERRORS


class NativeItems(ItemFormat):
    """Items as `BatchItem` says."""

    name = "native"
    refusals = (DomainError, ValidationError)

    def parse(self, item: Any, shared: Mapping[str, Any], received_at: datetime) -> IncomingEvent:
        """Return the event of an item."""
        return read(item, BatchItem).to_incoming()

    def cause(self, error: Exception) -> tuple[str, str]:
        """Return the code and, of a wrong shape, what is wrong with which field."""
        refusal = NATIVE_ERRORS.refusal(error)
        if refusal is None:
            return super().cause(error)
        wrong = [f"{field}: {' '.join(messages)}" for field, messages in refusal.details.items()]
        return refusal.code, "; ".join(wrong) or refusal.message

    def event_name(self, item: Mapping[str, Any]) -> object:
        """Return the type."""
        return item.get("type")


NATIVE_ITEMS = NativeItems()
