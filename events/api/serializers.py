"""Serializers of events and event definitions in the native API."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from rest_framework import serializers

from config.http.rendering import iso_millis
from contacts.api.briefs import briefs, ids_only
from contacts.api.serializers import ContactBriefField, ContactsSerializer
from contacts.models import Contact
from events.api.shapes import CONTEXT_FIELDS
from events.models import Event, EventDefinition, EventProperty
from events.rules import CONTACT_EVENT_PREFIXES
from events.stream.definitions import PropertySpec
from events.stream.queries import list_events
from events.stream.types import RecordedEvent
from workspaces.api.fields import MillisecondsField, NameCharField, StrictCharField
from workspaces.api.strict import ObjectField

EVENTS_OF_A_CONTACT = 50
_MAX_PROPERTIES = 200
_MAX_SUGGESTED = 100


class LagSerializer(serializers.Serializer[Any]):
    """How far the effects are behind."""

    lagSeconds = serializers.FloatField(
        source="seconds", help_text="for how long the oldest thing has waited"
    )
    waitingBatches = serializers.IntegerField(
        source="waiting_batches", help_text="of events; counted up to 100,000"
    )
    waitingSince = MillisecondsField(source="waiting_since", allow_null=True)
    overdue = serializers.IntegerField(help_text="decisions that time has made due; counted up to 100,000")
    overdueSince = MillisecondsField(source="overdue_since", allow_null=True)
    parked = serializers.IntegerField(help_text="effects that failed and wait for somebody")


class EventBriefSerializer(serializers.Serializer[Any]):
    """An event as its contact's answer shows it."""

    id = serializers.UUIDField()
    type = serializers.CharField(source="name")
    metadata = ObjectField(source="properties")
    timestamp = MillisecondsField(source="occurred_at")


class EventRowSerializer(EventBriefSerializer, ContactsSerializer):
    """An event as the list shows it; what of its contact, the context's `shows_contacts` says."""

    contact = ContactBriefField(source="contact_id", allow_null=True)

    def load(self, rows: Sequence[Event]) -> None:
        """Read the contacts; take away what events note of contacts that are not to be read."""
        ids = {event.contact_id for event in rows if event.contact_id}
        shows_contacts = self.context["shows_contacts"]
        found = (briefs if shows_contacts else ids_only)(rows[0].workspace_id, ids)
        # Of a deleted contact an event shows nothing.
        context: Any = self.context
        context["contacts"] = {contact_id: found.get(contact_id) for contact_id in ids}
        for event in rows:
            is_about_contact = event.source == Event.Source.SYSTEM and event.name.startswith(
                CONTACT_EVENT_PREFIXES
            )
            if is_about_contact and not shows_contacts:
                event.properties = {}


class EventSerializer(EventRowSerializer):
    """An event with all that its sender said of it."""

    workspaceId = serializers.UUIDField()
    contactId = serializers.UUIDField(allow_null=True)
    sessionId = serializers.CharField(allow_null=True)
    pageUrl = serializers.CharField(allow_null=True)
    referrer = serializers.CharField(allow_null=True)
    utmSource = serializers.CharField(allow_null=True)
    utmMedium = serializers.CharField(allow_null=True)
    utmCampaign = serializers.CharField(allow_null=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return the answer."""
        self.load([instance])
        return render_event(instance, self.context["contacts"].get(instance.contact_id))


def render_event(event: Event | RecordedEvent, contact: dict[str, Any] | None) -> dict[str, Any]:
    """Return an event as EventSerializer declares it, by hand: each one that is sent alone is answered with it."""
    return {
        "id": str(event.id),
        "workspaceId": str(event.workspace_id),
        "type": event.name,
        "contactId": contact["id"] if contact else event.contact_id and str(event.contact_id),
        "metadata": event.properties,
        **{name: event.context.get(name) for name in CONTEXT_FIELDS},
        "timestamp": iso_millis(event.occurred_at),
        "contact": contact,
    }


def recent_events(workspace_id: UUID, contact: Contact) -> Any:
    """Return what a contact's answer shows of its events (see `settings.CONTACT_ANSWER_SECTIONS`)."""
    events = list_events(workspace_id, contact_id=contact.id, limit=EVENTS_OF_A_CONTACT)
    return EventBriefSerializer(events, many=True).data


class ItemErrorSerializer(serializers.Serializer[Any]):
    """Why an item of a batch was refused."""

    code = serializers.CharField()
    message = serializers.CharField()
    details = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )


class ItemResultSerializer(serializers.Serializer[Any]):
    """What became of an item of a batch."""

    status = serializers.ChoiceField(
        choices=[("recorded", "recorded"), ("duplicate", "known already"), ("refused", "not recorded")]
    )
    id = serializers.UUIDField(required=False, help_text="the event's id, unless it was refused")
    error = ItemErrorSerializer(required=False)


class BatchResultSerializer(serializers.Serializer[Any]):
    """A result per item, in the order of the items."""

    results = ItemResultSerializer(many=True)


class PropertySerializer(serializers.Serializer[Any]):
    """A property of a definition."""

    name = NameCharField(max_length=128)
    type = serializers.ChoiceField(choices=EventProperty.Type.choices)
    description = StrictCharField(required=False, allow_blank=True, default="", max_length=10_000)
    suggestedValues = serializers.ListField(
        source="suggested_values",
        child=StrictCharField(max_length=2048),
        required=False,
        default=list,
        max_length=_MAX_SUGGESTED,
    )


class DefinitionBodySerializer(serializers.Serializer[Any]):
    """An event to declare."""

    name = NameCharField(max_length=255)
    description = StrictCharField(required=False, allow_blank=True, max_length=10_000)
    properties = PropertySerializer(
        many=True,
        required=False,
        max_length=_MAX_PROPERTIES,  # type: ignore[call-arg]  # the list's argument, which the stubs do not know
    )

    def validate_properties(self, properties: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse two properties of one name."""
        names = [each["name"] for each in properties]
        if len(set(names)) < len(names):
            raise serializers.ValidationError("Every property needs a name of its own.")
        return properties


class DefinitionChangeSerializer(DefinitionBodySerializer):
    """What to change of a definition; its name is what its events are called, and stays."""

    name = None  # type: ignore[assignment]  # how DRF drops an inherited field


class DefinitionSerializer(serializers.ModelSerializer[EventDefinition]):
    """A definition and its properties."""

    declared = serializers.BooleanField(
        source="is_declared", help_text="declared by somebody, not merely seen in the stream"
    )
    properties = PropertySerializer(many=True)
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")

    class Meta:
        model = EventDefinition
        fields = ["id", "name", "description", "declared", "properties", "createdAt", "updatedAt"]


def specs_from(properties: Sequence[dict[str, Any]]) -> list[PropertySpec]:
    """Return validated properties as the core takes them."""
    return [
        PropertySpec(
            name=each["name"],
            type=each["type"],
            description=each["description"],
            suggested_values=tuple(each["suggested_values"]),
        )
        for each in properties
    ]
