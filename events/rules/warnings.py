"""What a rule speaks of that was never seen: allowed, for it may come, but worth a word."""

from uuid import UUID

from events.models import EventDefinition, EventProperty
from events.rules.nodes import EventLeaf, PropertyLeaf, Rule

SYSTEM_PREFIXES = ("contact.", "segment.", "message.", "form.", "telegram.")


def warnings_of(workspace_id: UUID, rule: Rule) -> list[str]:
    """Return a sentence for each event and property that the workspace has never seen."""
    leaves = [leaf for leaf in rule.event_leaves if not leaf.event_name.startswith(SYSTEM_PREFIXES)]
    names = {leaf.event_name for leaf in leaves}
    definitions = EventDefinition.objects.filter(workspace_id=workspace_id, deleted_at=None, name__in=names)
    seen = set(definitions.values_list("name", flat=True))
    properties = set(
        EventProperty.objects.filter(workspace_id=workspace_id, definition__in=definitions).values_list(
            "definition__name", "name"
        )
    )
    unseen = [f'The event "{name}" has never been seen.' for name in sorted(names - seen)]
    pairs = {
        (leaf.event_name, name) for leaf in leaves if leaf.event_name in seen for name in _properties_of(leaf)
    }
    return unseen + [
        f'The property "{name}" of the event "{event}" has never been seen.'
        for event, name in sorted(pairs - properties)
    ]


def _properties_of(leaf: EventLeaf) -> set[str]:
    fields = {leaf.property} if leaf.property else set()
    if leaf.filters is not None:
        fields |= {inner.field for inner in leaf.filters.leaves() if isinstance(inner, PropertyLeaf)}
    # The top-level name is what is observed; a field without a prefix is the event's own.
    return {field.split(".")[1] for field in fields if "." in field}
