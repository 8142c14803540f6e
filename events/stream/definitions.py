"""Event definitions: declared, replaced, deleted softly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction

from config import clock
from config.db.bulk import insert_rows, update_rows
from config.values.names import composed
from events.errors import (
    DefinitionExists,
    DefinitionLimitReached,
    DefinitionNotFound,
    PropertyTypeLocked,
)
from events.models import EventDefinition, EventProperty
from workspaces.models import Workspace

_WRITTEN: Final = ("description", "late_after_hours", "is_declared", "updated_at")
_OF_PROPERTIES: Final = ("type", "description", "suggested_values", "is_declared", "is_locked", "position")


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """A property as it is declared; `type` is an `EventProperty.Type`."""

    name: str
    type: str
    description: str = ""
    suggested_values: tuple[str, ...] = ()


class DefinitionEdits:
    """New and changed definitions of a workspace, checked one by one and written together, in one transaction.

    `names`: those that are to be created. `definition_ids`: those that are to be changed, which are locked.
    """

    def __init__(
        self, workspace_id: UUID, *, names: Collection[str] = (), definition_ids: Collection[UUID] = ()
    ) -> None:
        self.workspace_id = workspace_id
        self._active = EventDefinition.objects.in_workspace(workspace_id).active()
        if names:
            # Holding the workspace's row keeps two requests from passing the limit together.
            Workspace.objects.select_for_update(no_key=True).get(id=workspace_id)
        self._seen = self._named(set(map(composed, names)))
        self._held = self._locked(definition_ids)
        self._inserted: list[EventDefinition] = []
        self._edited: list[tuple[EventDefinition, Sequence[PropertySpec] | None]] = []
        self._properties = self._properties_of([*self._seen.values(), *self._held.values()])
        self._dropped: list[UUID] = []

    def create(
        self,
        name: str,
        *,
        description: str = "",
        properties: Sequence[PropertySpec] = (),
        late_after_hours: int | None = None,
    ) -> EventDefinition:
        """Declare an event of one of the names, as `create_definition` does."""
        name = composed(name)
        definition = self._seen.get(name)
        if definition is None:
            definition = EventDefinition(workspace_id=self.workspace_id, name=name)
            self._inserted.append(definition)
        elif definition.is_declared:
            raise DefinitionExists
        self._refuse_changed_types(definition, properties)
        definition.description = description
        self._declare(definition, late_after_hours, properties)
        return definition

    def replace(
        self,
        definition: EventDefinition,
        *,
        description: str | None = None,
        properties: Sequence[PropertySpec] | None = None,
        late_after_hours: int | None = None,
        keep_types: bool = False,
    ) -> EventDefinition:
        """Change one of the locked definitions, as `replace_definition` does."""
        held = self._held.get(definition.id)
        if held is None:
            raise DefinitionNotFound
        if description is not None:
            held.description = description
        if properties is not None:
            if keep_types:
                self._refuse_changed_types(held, properties)
            names = {item.name for item in properties}
            # What the stream has taught stays: another wire format may hold events to it.
            self._dropped += [
                known.id
                for name, known in self._properties[held.id].items()
                if known.is_declared and name not in names
            ]
        self._declare(held, late_after_hours, properties)
        return held

    def write(self) -> None:
        """Write what was created and changed. Raises PropertyTypeLocked."""
        standing = EventDefinition.objects.in_workspace(self.workspace_id)
        inserted = self._insert()
        changed = [definition for definition, _ in self._edited if definition.id not in inserted]
        now = clock.now()
        for definition in changed:
            definition.updated_at = now
        update_rows(standing, changed, _WRITTEN)
        if self._dropped:
            EventProperty.objects.in_workspace(self.workspace_id).filter(id__in=self._dropped).delete()
        insert_rows(
            list(self._declared_properties().values()),
            update_conflicts=True,
            unique_fields=["workspace", "definition", "name"],
            update_fields=_OF_PROPERTIES,
        )

    def _declared_properties(self) -> dict[tuple[UUID, str], EventProperty]:
        return {
            (definition.id, composed(item.name)): EventProperty(
                workspace_id=self.workspace_id,
                definition=definition,
                name=item.name,
                type=item.type,
                description=item.description,
                suggested_values=list(item.suggested_values),
                is_declared=True,
                is_locked=True,
                position=position,
            )
            for definition, properties in self._edited
            for position, item in enumerate(properties or ())
        }

    def _named(self, names: Collection[str]) -> dict[str, EventDefinition]:
        return {row.name: row for row in self._active.filter(name__in=names)} if names else {}

    def _locked(self, definition_ids: Collection[UUID]) -> dict[UUID, EventDefinition]:
        if not definition_ids:
            return {}
        definitions = EventDefinition.objects.in_workspace(self.workspace_id).select_for_update()
        return {row.id: row for row in definitions.filter(id__in=definition_ids).order_by("id")}

    def _properties_of(self, definitions: Sequence[EventDefinition]) -> dict[UUID, dict[str, EventProperty]]:
        found: dict[UUID, dict[str, EventProperty]] = defaultdict(dict)
        if definitions:
            properties = EventProperty.objects.in_workspace(self.workspace_id)
            for row in properties.filter(definition__in=definitions):
                found[row.definition_id][row.name] = row
        return found

    def _declare(
        self,
        definition: EventDefinition,
        late_after_hours: int | None,
        properties: Sequence[PropertySpec] | None,
    ) -> None:
        if late_after_hours is not None:
            definition.late_after_hours = late_after_hours
        definition.is_declared = True
        self._edited.append((definition, properties))

    def _refuse_changed_types(self, definition: EventDefinition, properties: Sequence[PropertySpec]) -> None:
        known = self._properties[definition.id]
        for item in properties:
            standing = known.get(item.name)
            if standing is not None and standing.is_locked and standing.type != item.type:
                raise PropertyTypeLocked(item.name)

    def _insert(self) -> set[UUID]:
        """Insert new definitions. Returns their ids.

        Those whose events came in at the same moment are known by now, and are changed instead.
        """
        insert_rows(self._inserted, ignore_conflicts=True)
        known = self._named({definition.name for definition in self._inserted})
        inserted = {row.id for row in self._inserted if known[row.name].id == row.id}
        raced = [row for row in self._inserted if row.id not in inserted]
        for row in raced:
            row.id = known[row.name].id
        self._properties |= self._properties_of(raced)
        for definition, properties in self._edited:
            if definition in raced:
                self._refuse_changed_types(definition, properties or ())
        return inserted


@transaction.atomic
def create_definition(
    workspace_id: UUID,
    name: str,
    *,
    description: str = "",
    properties: Sequence[PropertySpec] = (),
    late_after_hours: int | None = None,
    limit: int | None = None,
) -> EventDefinition:
    """Declare an event; one that was merely seen until now becomes declared.

    Raises DefinitionExists, DefinitionLimitReached where `limit` declared ones exist already, and
    PropertyTypeLocked where a property was learned with another type.
    """
    edits = DefinitionEdits(workspace_id, names=[name])
    definition = edits.create(
        name, description=description, properties=properties, late_after_hours=late_after_hours
    )
    declared = EventDefinition.objects.in_workspace(workspace_id).active().declared()
    if limit is not None and declared.count() >= limit:
        raise DefinitionLimitReached(limit)
    edits.write()
    return definition


@transaction.atomic
def replace_definition(
    definition: EventDefinition,
    *,
    description: str | None = None,
    properties: Sequence[PropertySpec] | None = None,
    late_after_hours: int | None = None,
    keep_types: bool = False,
) -> EventDefinition:
    """Set the description; given properties replace the whole declared schema.

    Raises PropertyTypeLocked where `keep_types` is asked for and a locked type would change.
    """
    edits = DefinitionEdits(definition.workspace_id, definition_ids=[definition.id])
    replaced = edits.replace(
        definition,
        description=description,
        properties=properties,
        late_after_hours=late_after_hours,
        keep_types=keep_types,
    )
    edits.write()
    return replaced


@transaction.atomic
def delete_definition(definition: EventDefinition) -> None:
    """Delete softly: its events stay, the name is free again."""
    definition.deleted_at = definition.updated_at = clock.now()
    definition.save(update_fields=["deleted_at", "updated_at"])
