"""Event definitions: declared, replaced, deleted softly."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from config import clock
from config.values.names import composed
from events.errors import DefinitionExists, DefinitionLimitReached, PropertyTypeLocked
from events.models import EventDefinition, EventProperty
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class PropertySpec:
    """A property as it is declared; `type` is an `EventProperty.Type`."""

    name: str
    type: str
    description: str = ""
    suggested_values: tuple[str, ...] = ()


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
    name = composed(name)
    # Holding the workspace's row keeps two requests from passing the limit together.
    Workspace.objects.select_for_update(no_key=True).get(id=workspace_id)
    active = EventDefinition.objects.in_workspace(workspace_id).active()
    seen = active.filter(name=name).first()
    if seen is not None and seen.is_declared:
        raise DefinitionExists
    if limit is not None and active.declared().count() >= limit:
        raise DefinitionLimitReached(limit)
    definition = seen or _insert(workspace_id, name)
    _refuse_changed_types(definition, properties)
    definition.description = description
    _save_declared(definition, late_after_hours)
    _declare_properties(definition, properties)
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
    definition = (
        EventDefinition.objects.select_for_update()
        .in_workspace(definition.workspace_id)
        .get(id=definition.id)
    )
    if description is not None:
        definition.description = description
    _save_declared(definition, late_after_hours)
    if properties is not None:
        if keep_types:
            _refuse_changed_types(definition, properties)
        # What the stream has taught stays: another wire format may hold events to it.
        definition.properties.filter(is_declared=True).exclude(
            name__in=[item.name for item in properties]
        ).delete()
        _declare_properties(definition, properties)
    return definition


@transaction.atomic
def delete_definition(definition: EventDefinition) -> None:
    """Delete softly: its events stay, the name is free again."""
    definition.deleted_at = definition.updated_at = clock.now()
    definition.save(update_fields=["deleted_at", "updated_at"])


def _save_declared(definition: EventDefinition, late_after_hours: int | None) -> None:
    if late_after_hours is not None:
        definition.late_after_hours = late_after_hours
    definition.is_declared = True
    definition.updated_at = clock.now()
    definition.save(update_fields=["description", "late_after_hours", "is_declared", "updated_at"])


def _insert(workspace_id: UUID, name: str) -> EventDefinition:
    try:
        with transaction.atomic():
            return EventDefinition.objects.create(workspace_id=workspace_id, name=name)
    except IntegrityError:
        # An event of this name came in at the same moment and made it known.
        return EventDefinition.objects.in_workspace(workspace_id).active().get(name=name)


def _declare_properties(definition: EventDefinition, properties: Sequence[PropertySpec]) -> None:
    for position, item in enumerate(properties):
        EventProperty.objects.update_or_create(
            workspace_id=definition.workspace_id,
            definition=definition,
            name=item.name,
            defaults={
                "type": item.type,
                "description": item.description,
                "suggested_values": list(item.suggested_values),
                "is_declared": True,
                "is_locked": True,
                "position": position,
            },
        )


def _refuse_changed_types(definition: EventDefinition, properties: Sequence[PropertySpec]) -> None:
    types = dict(definition.properties.filter(is_locked=True).values_list("name", "type"))
    for item in properties:
        if types.get(item.name, item.type) != item.type:
            raise PropertyTypeLocked(item.name)
