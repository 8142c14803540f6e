"""Calls of a batch, each parsed by itself; the log of those refused, whose sender is answered as if all were well."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from dialects.segment.mapping import CALLS
from dialects.segment.serializers import MAX_CALL_BYTES, Call, check_batch, parse_item
from events.stream.item_formats import ItemFormat, ParsedItems, parse_items
from events.stream.types import IncomingEvent

logger = logging.getLogger(__name__)

_SHARED = ("sentAt", "context")


class SegmentItems(ItemFormat):
    """Calls, each of which says what it is by its `type`."""

    name = "segment"

    def parse(self, item: Any, shared: Mapping[str, Any], received_at: datetime) -> IncomingEvent | None:
        """Return what a call records; None where it leaves us out."""
        return parse_item(item, shared, received_at)

    def event_name(self, item: Mapping[str, Any]) -> object:
        """Return the event of a `track`, of others the kind of call."""
        return item.get("event") or (item.get("type") if item.get("type") in CALLS else "")


SEGMENT_ITEMS = SegmentItems()


def parse_batch(body: Call, *, received_at: datetime, size_bytes: int) -> ParsedItems:
    """Return the calls of a batch. Raises InvalidCall for a body of another shape."""
    check_batch(body)
    shared = {name: body[name] for name in _SHARED if body.get(name) is not None}
    # The whole is no larger than a call may be: then none of them is.
    may_be_large = size_bytes > MAX_CALL_BYTES
    parse = partial(parse_item, batch=shared, received_at=received_at, may_be_large=may_be_large)
    return parse_items(SEGMENT_ITEMS, body["batch"], received_at, shared=shared, parse=parse)


def log_refused(workspace_id: UUID, codes: Sequence[str]) -> None:
    """Log the codes of refused calls once the others are committed; the quarantine has the calls."""
    if codes:
        transaction.on_commit(partial(_log, workspace_id, codes), robust=True)


def _log(workspace_id: UUID, codes: Sequence[str]) -> None:
    logger.warning("Refused calls of a batch in the workspace %s: %s", workspace_id, dict(Counter(codes)))
