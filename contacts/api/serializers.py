"""Serializers of contacts in the native API."""

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from contacts.api.briefs import briefs
from contacts.models import Consent, Identifier
from contacts.references import ContactChanges
from workspaces.api.batches import BatchSerializer
from workspaces.api.fields import (
    BlankAsNullField,
    MillisecondsField,
    NameCharField,
    StrictCharField,
    UpperChoiceField,
)
from workspaces.api.strict import NumberField, ObjectField

_CHANNELS = [(channel.value.upper(), channel.label) for channel in Consent.Channel]
MERGE_STATUSES = ["running", "done"]
_STATUSES = [(status.value.upper(), status.label) for status in Consent.Status]
_IDENTIFIER_FIELDS = {
    "email": Identifier.EMAIL,
    "phone": Identifier.PHONE,
    "externalId": Identifier.EXTERNAL_ID,
}
_KIND_NAMES = {kind: name for name, kind in _IDENTIFIER_FIELDS.items()}
_MAX_TAGS = 200


class TagListSerializer(serializers.ListSerializer[Any]):
    """Tags by name."""

    def to_representation(self, data: Any) -> list[Any]:
        """Return the tags by name."""
        return sorted(super().to_representation(data), key=itemgetter("name"))


class TagSerializer(serializers.Serializer[Any]):
    """A tag on a contact."""

    id = serializers.UUIDField()
    name = serializers.CharField()

    class Meta:
        list_serializer_class = TagListSerializer


class IdentifierKindField(serializers.CharField):
    """A kind of identifiers, as the API spells it."""

    def to_representation(self, value: Any) -> Any:
        """Return e.g. `externalId`."""
        return _KIND_NAMES.get(value, value)


class PrimaryIdentifierField(serializers.CharField):
    """A contact's primary identifier of a kind."""

    def __init__(self, kind: str) -> None:
        super().__init__(source="*", allow_null=True)
        self.kind = kind

    def to_representation(self, value: Any) -> Any:
        """Return the identifier of a contact, None if it has none."""
        return value.identifier(self.kind)


class IdentitySerializer(serializers.Serializer[Any]):
    """What a contact is known by."""

    type = IdentifierKindField(
        source="kind", help_text="email, phone, externalId, anonymous_id or the identity field's name"
    )
    value = serializers.CharField()
    primary = serializers.BooleanField(source="is_primary")


class ConsentSerializer(serializers.Serializer[Any]):
    """Whether a contact may be written to on a channel."""

    channel = UpperChoiceField(choices=_CHANNELS)
    status = UpperChoiceField(choices=_STATUSES)
    changedAt = MillisecondsField(source="changed_at", read_only=True)


class ContactBriefSerializer(serializers.Serializer[Any]):
    """What an event shows of its contact."""

    id = serializers.UUIDField()
    email = serializers.CharField(allow_null=True)
    firstName = serializers.CharField(allow_null=True)
    lastName = serializers.CharField(allow_null=True)


@extend_schema_field(ContactBriefSerializer)
class ContactBriefField(serializers.Field[Any, Any, Any, Any]):
    """The contact of an id, which a `ContactsSerializer` has read."""

    def to_representation(self, value: UUID) -> Any:
        """Return the contact; of a deleted one the id is what is left."""
        known, nobody = self.context["contacts"], {"email": None, "firstName": None, "lastName": None}
        return known.get(value, {"id": str(value), **nobody})


class ContactsSerializer(BatchSerializer):
    """An answer about contacts: reads them by one statement, for its fields, into the context's `contacts`.

    Rows that do not say of which workspace they are take a context with its `workspace_id`.
    """

    def load(self, rows: Sequence[Any]) -> None:
        """Read the contacts of all rows."""
        workspace_id = self.context.get("workspace_id") or rows[0].workspace_id
        ids = {contact_id for row in rows for contact_id in self.contact_ids(row)}
        context: Any = self.context
        context.setdefault("contacts", {}).update(briefs(workspace_id, ids))

    def contact_ids(self, row: Any) -> Iterable[UUID]:
        """Return the ids of the contacts that a row is about."""
        return (row.contact_id,)


class KnownContactsSerializer(serializers.ListSerializer[Any]):
    """Rows with a `contact_id`, without those whose contact was deleted meanwhile."""

    def to_representation(self, data: Any) -> list[Any]:
        """Return the rows of contacts that the context's `contacts` has."""
        known = self.context["contacts"]
        return super().to_representation([row for row in data if row.contact_id in known])


class KnownContactsField(serializers.ListField):
    """Contacts by their ids, without those that were deleted meanwhile."""

    child = ContactBriefField()

    def to_representation(self, data: Any) -> list[Any]:
        """Return the contacts that the context's `contacts` has."""
        known = self.context["contacts"]
        return super().to_representation([contact_id for contact_id in data if contact_id in known])


class ContactRowSerializer(serializers.Serializer[Any]):
    """A contact as the list shows it; it comes `with_details`."""

    id = serializers.UUIDField()
    email = PrimaryIdentifierField(Identifier.EMAIL)
    phone = PrimaryIdentifierField(Identifier.PHONE)
    externalId = PrimaryIdentifierField(Identifier.EXTERNAL_ID)
    firstName = BlankAsNullField(source="first_name")
    lastName = BlankAsNullField(source="last_name")
    score = NumberField(max_digits=30, source="score_points")
    attributes = ObjectField()
    tags = TagSerializer(many=True, source="known_tags")
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")


class ContactSerializer(ContactRowSerializer):
    """A contact as a write answers with it; it comes `with_details`."""

    identities = IdentitySerializer(many=True, source="known_identifiers")
    consents = ConsentSerializer(many=True, source="known_consents")


class ContactDetailSerializer(ContactSerializer):
    """A contact with what the other apps know of it."""

    # Each for who may read it.
    events = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="the last 50, newest first"
    )
    segments = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        help_text="those that it is in: id, name and since when",
    )
    campaigns = serializers.ListField(
        child=serializers.DictField(),
        required=False,
        help_text="the last 50 enrollments, newest first: the campaign, and how it ended",
    )
    messages = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="the last 50, newest first"
    )


class MergeBodySerializer(serializers.Serializer[Any]):
    """Whom to merge into the contact of the address."""

    contactId = StrictCharField(max_length=64)


class TakenOverSerializer(serializers.Serializer[Any]):
    """What the survivor's own row took over because it lacked it; absent is what it did not."""

    firstName = serializers.CharField(required=False, source="first_name")
    lastName = serializers.CharField(required=False, source="last_name")
    attributes = ObjectField(required=False)


class MergeSerializer(serializers.Serializer[Any]):
    """Two contacts that are one person, until the merge is undone."""

    id = serializers.UUIDField()
    survivorId = serializers.UUIDField(source="survivor_id")
    mergedId = serializers.UUIDField(source="merged_id")
    takenOver = TakenOverSerializer(source="restores")
    by = serializers.CharField(allow_blank=True)
    mergedAt = MillisecondsField(source="merged_at")
    undoneAt = MillisecondsField(source="undone_at", allow_null=True)
    status = serializers.ChoiceField(
        choices=MERGE_STATUSES,
        help_text="running: the contacts are one, or apart, and what they have is still being moved",
    )
    progress = serializers.FloatField(help_text="which part of that has been moved, from 0 to 1")


class ErasureSerializer(serializers.Serializer[Any]):
    """The receipt of an erasure."""

    id = serializers.UUIDField()
    contactIds = serializers.ListField(child=serializers.UUIDField(), source="contact_ids")
    removed = serializers.DictField(
        child=serializers.IntegerField(), help_text="how many rows of what were removed"
    )
    status = serializers.ChoiceField(
        choices=["running", "done"], help_text="running: the person is gone, and rows are still being removed"
    )
    erasedAt = MillisecondsField(source="erased_at")
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)
    settledAt = MillisecondsField(
        source="settled_at", allow_null=True, help_text="when nothing could come in any more"
    )


class PaginationSerializer(serializers.Serializer[Any]):
    """Where in the list a page stands."""

    page = serializers.IntegerField(allow_null=True, help_text="null for a page by `after`")
    limit = serializers.IntegerField()
    total = serializers.IntegerField(help_text="exact up to 10,000, estimated above")
    totalPages = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="the next page's `after`; null on the last page")


@extend_schema_serializer(many=False)  # the action is called `list`, but its answer is one object
class ContactPageSerializer(serializers.Serializer[Any]):
    """A page of contacts."""

    data = ContactRowSerializer(many=True)  # type: ignore[assignment]  # the format's name for its rows
    pagination = PaginationSerializer()


class ContactBodySerializer(serializers.Serializer[Any]):
    """A contact to create, or what to change of one."""

    email = StrictCharField(required=False, allow_null=True, max_length=512)
    phone = StrictCharField(required=False, allow_null=True, max_length=512)
    externalId = StrictCharField(required=False, allow_null=True, max_length=512)
    firstName = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=255)
    lastName = StrictCharField(required=False, allow_null=True, allow_blank=True, max_length=255)
    attributes = ObjectField(
        required=False, allow_null=True, help_text="Set key by key; the value null removes a key."
    )
    tags = serializers.ListField(
        child=NameCharField(max_length=255), required=False, allow_null=True, max_length=_MAX_TAGS
    )
    consents = ConsentSerializer(many=True, required=False, allow_null=True)


def changes_from(attrs: dict[str, Any]) -> ContactChanges:
    """Return what a validated body sets."""
    return ContactChanges(
        first_name=_text(attrs, "firstName"),
        last_name=_text(attrs, "lastName"),
        attributes=attrs.get("attributes") or {},
        identifiers=tuple(
            (kind, attrs[name]) for name, kind in _IDENTIFIER_FIELDS.items() if attrs.get(name) is not None
        ),
        tags=tuple(attrs.get("tags") or ()),
        consents={consent["channel"]: consent["status"] for consent in attrs.get("consents") or ()},
    )


def emptied_identifiers(attrs: dict[str, Any]) -> list[str]:
    """Return the kinds of which a validated body takes the primary identifier away."""
    return [kind for name, kind in _IDENTIFIER_FIELDS.items() if name in attrs and attrs[name] is None]


def _text(attrs: dict[str, Any], name: str) -> str | None:
    """A null in the body empties a name; one that is absent leaves it."""
    return (attrs[name] or "") if name in attrs else None
