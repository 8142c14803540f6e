"""Import events: history, recorded as if it had been sent when it happened."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from config import clock
from config.files.mapping import ColumnMapping
from config.files.rows import Row
from contacts.errors import PersonErased
from contacts.imports.kinds import Decision, ImportKind
from contacts.models import Import
from contacts.signals import Effects
from events.imports.fields import EVENT_FIELDS, incoming_event
from events.models import EffectsLevel, Event
from events.processing.regrouping import regroup_imported
from events.stream.quarantine import Refusal, keep_refused
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy


class EventImport(ImportKind[IncomingEvent]):
    """Contacts that are not known are made; those that are stay as they are."""

    kind = Import.Kind.EVENTS
    fields = EVENT_FIELDS
    batch_rows = 4_000
    is_ordered = False

    def prepare(self, mapping: ColumnMapping, row: Row, key: str) -> IncomingEvent:
        """Return the event that a row describes."""
        return incoming_event(mapping, row.values or {}, key)

    def record(self, workspace_id: UUID, effects: Effects, items: Sequence[IncomingEvent]) -> list[Decision]:
        """Record events."""
        outcomes = record_events(
            workspace_id,
            items,
            schema_policy=SchemaPolicy.OPEN,
            source=Event.Source.IMPORT,
            level=EffectsLevel.named(effects),
        )
        refusals = [
            Refusal(item, outcome.error, SchemaPolicy.OPEN, Event.Source.IMPORT, is_of_batch=True)
            for item, outcome in zip(items, outcomes, strict=True)
            # Of who was erased nothing is kept, not even what was refused.
            if outcome.error is not None and not isinstance(outcome.error, PersonErased)
        ]
        keep_refused(workspace_id, refusals, clock.now())
        return [_decision(outcome) for outcome in outcomes]

    def settle(self, workspace_id: UUID) -> None:
        """Have what waits for its effects go contact by contact: each is evaluated once, not once an event."""
        regroup_imported(workspace_id)


_RECORDED: Final = Decision(True)
_REPEATED: Final = Decision(False)


def _decision(outcome: Outcome) -> Decision:
    if outcome.error is not None:
        return Decision(False, outcome.error.message)
    return _RECORDED if outcome.status == "recorded" else _REPEATED
