"""AutoSend's bodies and answers. A refusal is said as a predicate: see `errors.InvalidBody`."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from msgspec import Meta, Struct
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.fields import empty

from config.http.rendering import iso_millis
from contacts.errors import NoIdentity
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, Identifier
from contacts.references import ContactChanges, ContactReference
from dialects.autosend.errors import INVALID_EMAIL, InvalidBody
from dialects.autosend.mapping import (
    MAX_CONTACTS,
    MAX_EMAILS,
    MAX_NAME_LENGTH,
    MAX_PROPERTIES,
    TYPE_OF_WIRE,
    WIRE_OF_TYPE,
)
from dialects.autosend.queries import lock_lists
from dialects.body_checks import Check, FieldProblem, described, form, optional, record, schema_of, text
from events.models import EventProperty
from events.stream.definitions import PropertySpec
from events.stream.types import IncomingEvent, RecordedEvent
from segments.models import Segment
from segments.static_members import MembersChanged
from workspaces.api.fields import MillisecondsField
from workspaces.api.strict import ObjectField, StrictBooleanField

_REQUIRED = {"required": "is required", "null": "is required"}
_OBJECT: dict[str, Any] = {
    "required": "is required",
    "invalid": "must be an object",
    "null": "must be an object",
}
_NAME = rf"[A-Za-z0-9_]{{1,{MAX_NAME_LENGTH}}}"
_VALUE = {"type": ["string", "number", "boolean", "null"]}
_TEXT_ITEM = {"null": "must be a string"}


# Sends: many, so that they are read and answered without a serializer ------------------------------------------


def parse_send(body: Mapping[str, Any]) -> IncomingEvent:
    """Return the event that `body` sends. Raises InvalidBody, then NoIdentity (A1)."""
    if problems := list(_SEND("", body)):
        raise InvalidBody([(problem.field, problem.code, problem.message) for problem in problems])
    return IncomingEvent(
        name=body["eventName"],
        contact=_reference(body.get("contactId"), body.get("email")),
        properties=body.get("eventProperties") or {},
    )


class EventAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded event."""

    id: str
    event_name: str
    contact_id: str
    properties: Mapping[str, Any]
    created_at: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class SendAnswer(Struct, frozen=True, kw_only=True):
    """A recorded event in its envelope."""

    success: bool
    data: EventAnswer


def render_event(event: RecordedEvent) -> EventAnswer:
    """Return a recorded event."""
    return EventAnswer(
        id=str(event.id),
        event_name=event.name,
        contact_id=str(event.survivor_id),
        properties=event.properties,
        created_at=iso_millis(event.received_at),
    )


def _reference(contact_id: str | None, email: str | None) -> ContactReference:
    # The id takes precedence, so a known address does not help an unknown id (A2). Empty is absent (A3).
    if contact_id:
        return ContactReference(id=contact_id)
    if email:
        return ContactReference(identifiers=((Identifier.EMAIL, email),))
    raise NoIdentity


def _unless_empty(check: Check) -> Check:
    """Let null and the empty string pass, which mean that nothing was sent (A3)."""

    def check_unless_empty(path: str, value: Any) -> Iterator[FieldProblem]:
        if value not in (None, ""):
            yield from check(path, value)

    return described(check_unless_empty, schema_of(optional(check)))


_SEND = record(
    {
        "eventName": text(is_blank_allowed=False),
        "email": _unless_empty(
            form(lambda value: normalize_identifier(Identifier.EMAIL, value), INVALID_EMAIL)
        ),
        "contactId": described(
            _unless_empty(text()), {"type": ["string", "null"], "description": "Takes precedence over email"}
        ),
        "eventProperties": described(
            optional(record({})), {"type": ["object", "null"], "additionalProperties": _VALUE}
        ),
    },
    required=("eventName",),
)
SEND_SCHEMA = schema_of(_SEND)


# Fields --------------------------------------------------------------------------------------------------------


class TextField(serializers.CharField):
    """A string as it was sent; what it may hold is the core's to say."""

    default_error_messages = {
        **_REQUIRED,
        "invalid": "must be a string",
        "max_length": "must have at most {max_length} characters",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **kwargs})
        # Without DRF's own, that refuse null characters.
        self.validators = self.validators[:1] if self.max_length is not None else []

    def run_validation(self, data: Any = empty) -> Any:
        """Return the text or None, the empty one too as the field has it. Raises ValidationError."""
        return super(serializers.CharField, self).run_validation(data)

    def to_internal_value(self, data: Any) -> str:
        """Return the string. Raises ValidationError for any other type."""
        if not isinstance(data, str):
            self.fail("invalid")
        return data


class IdentifierField(TextField):
    """An email address or a userId."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the text as it was sent, "" where that may be. Raises ValidationError for what is no such
        identifier.
        """
        value = super().to_internal_value(data)
        if normalize_identifier(self.kind, value) is None and (value or not self.allow_blank):
            self.fail("invalid_format")
        return value


class NameField(TextField):
    """The name of an event or of one of its properties."""

    def to_internal_value(self, data: Any) -> str:
        """Return the name. Raises ValidationError."""
        value = super().to_internal_value(data)
        if re.fullmatch(_NAME, value) is None:
            raise ValidationError(f"must be 1 to {MAX_NAME_LENGTH} letters, digits or underscores")
        return value


class ArrayField(serializers.ListField):
    """An array; one that is too long is refused before its items are looked at."""

    default_error_messages = {
        **_REQUIRED,
        "not_a_list": "must be an array",
        "empty": "must have at least 1 item",
        "max_length": "must have at most {max_length} items",
    }

    def to_internal_value(self, data: Any) -> Any:
        """Return the items. Raises ValidationError."""
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)


@extend_schema_field({"type": "object", "additionalProperties": _VALUE})
class ValuesField(ObjectField):
    """An object of strings, numbers, booleans and dates."""

    default_error_messages = {"invalid": "must be an object"}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the object. Raises ValidationError."""
        values = super().to_internal_value(data)
        nested = [name for name, value in values.items() if isinstance(value, dict | list)]
        if nested:
            raise ValidationError({name: ["must be a string, number, boolean or date"] for name in nested})
        return values


PROPERTY_TYPES = list(TYPE_OF_WIRE)


class TypeField(serializers.ChoiceField):
    """The type of a property."""

    default_error_messages = {**_REQUIRED, "invalid_choice": f"must be one of {', '.join(TYPE_OF_WIRE)}"}

    def to_internal_value(self, data: Any) -> str:
        """Return the type. Raises ValidationError."""
        if not isinstance(data, str) or data not in TYPE_OF_WIRE:
            self.fail("invalid_choice")
        return data


class OptionalTextField(serializers.CharField):
    """A text of a row, null where it is empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_null=True, **kwargs)

    def to_representation(self, value: Any) -> Any:
        """Return the text or None."""
        return value or None


@extend_schema_field(OpenApiTypes.ANY)
class UnsupportedField(serializers.Field[Any, Any, Any, Any]):
    """A member that cannot be honoured: refused with the reason, unless it is empty or false."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(required=False, allow_null=True, write_only=True, help_text=f"Refused: {why}")

    def to_internal_value(self, data: Any) -> None:
        """Return None for what asks for nothing. Raises ValidationError."""
        if data:
            raise ValidationError(self.why)


# Bodies --------------------------------------------------------------------------------------------------------


class BodySerializer(serializers.Serializer[Any]):
    """A body, or an object in one. Members that the API does not know are ignored."""

    default_error_messages = _OBJECT

    @classmethod
    def read(cls, data: Any, **context: Any) -> dict[str, Any]:
        """Return the values of a body. Raises InvalidBody."""
        # Of null DRF says something of its own.
        serializer = cls(data=() if data is None else data, context=context)
        if not serializer.is_valid():
            raise InvalidBody(_problems(serializer.errors, data))
        validated: dict[str, Any] = serializer.validated_data
        return validated


def _problems(errors: Any, data: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, code and message of each error: what is missing first, then in the order of the body."""
    if isinstance(errors, list):
        yield from ((path, error.code, str(error)) for error in errors)
        return
    names = list(errors)
    if isinstance(data, dict):
        places = {name: place for place, name in enumerate(data)}
        names.sort(key=lambda name: -1 if _is_missing(errors[name]) else places[name])
    for name in names:
        if isinstance(data, dict):
            yield from _problems(errors[name], data.get(name), f"{path}.{name}" if path else name)
        elif isinstance(name, int):
            yield from _problems(errors[name], data[name], f"{path}[{name}]")
        else:
            yield from _problems(errors[name], data, path)


def _is_missing(errors: Any) -> bool:
    return isinstance(errors, list) and errors[0].code in ("required", "null")


class AutoSendPropertyBodySerializer(BodySerializer):
    """A property of an event."""

    propertyName = NameField()
    type = TypeField(choices=PROPERTY_TYPES)
    description = TextField(required=False, allow_null=True)
    suggestedValues = ArrayField(
        child=TextField(max_length=2048, error_messages=_TEXT_ITEM), required=False, allow_null=True
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse suggestions for anything but text."""
        if attrs.get("suggestedValues") and attrs["type"] != "string":
            raise ValidationError({"suggestedValues": ["is for properties of type string only"]})
        return attrs


class AutoSendDefinitionChangesSerializer(BodySerializer):
    """What changes of an event; given properties replace the schema."""

    description = TextField(required=False, allow_null=True)
    properties = ArrayField(
        child=AutoSendPropertyBodySerializer(), max_length=MAX_PROPERTIES, required=False, allow_null=True
    )

    def validate_properties(self, value: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        """Refuse a property that is declared twice."""
        names = [each["propertyName"] for each in value or ()]
        repeated = [index for index, name in enumerate(names) if name in names[:index]]
        if repeated:
            problems = {index: {"propertyName": ["is declared twice"]} for index in repeated}
            raise ValidationError(cast(Any, problems))
        return value

    def to_internal_value(self, data: Any) -> Any:
        """Return the values; clients send back the name that they were shown, and that cannot change."""
        problems: dict[str, Any] = {}
        name = self.context.get("name")
        if name is not None and isinstance(data, dict) and data.get("eventName", name) != name:
            problems = {"eventName": ["cannot be changed"]}
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            raise ValidationError({**error.detail, **problems}) from error  # type: ignore[dict-item]
        if problems:
            raise ValidationError(problems)
        return values


class AutoSendDefinitionBodySerializer(AutoSendDefinitionChangesSerializer):
    """An event to be declared."""

    eventName = NameField()


class AutoSendContactBodySerializer(BodySerializer):
    """A contact to be created or changed."""

    email = IdentifierField(
        Identifier.EMAIL,
        allow_blank=False,
        error_messages={"invalid_format": INVALID_EMAIL},
    )
    firstName = TextField(max_length=255, required=False, allow_null=True)
    lastName = TextField(max_length=255, required=False, allow_null=True)
    userId = IdentifierField(
        Identifier.EXTERNAL_ID,
        required=False,
        allow_null=True,
        error_messages={"invalid_format": "Invalid userId"},
    )
    listIds = ArrayField(child=TextField(error_messages=_TEXT_ITEM), required=False, allow_null=True)
    customFields = ValuesField(required=False, allow_null=True)

    def validate_listIds(self, value: list[str] | None) -> list[Segment]:  # noqa: N802  (DRF looks for the field's name)
        """Return the lists, locked. Refuses by name what is none: membership is not dropped in silence."""
        lists, problems = lock_lists(self.context["workspace_id"], value or ())
        if problems:
            raise ValidationError(cast(Any, problems))
        return lists


class AutoSendBulkContactSerializer(AutoSendContactBodySerializer):
    """A contact of a bulk update, which is read on its own."""

    def run_validation(self, data: Any = empty) -> Any:
        """Return whatever was sent."""
        return data


class AutoSendBulkBodySerializer(BodySerializer):
    """Contacts to be created or changed."""

    contacts = ArrayField(
        child=AutoSendBulkContactSerializer(), min_length=1, max_length=MAX_CONTACTS, allow_empty=False
    )
    runWorkflow = StrictBooleanField(
        required=False, allow_null=True, error_messages={"invalid": "must be true or false"}
    )


class AutoSendEmailsSerializer(BodySerializer):
    """Addresses; a bare array of them will do."""

    emails = ArrayField(child=TextField(error_messages=_TEXT_ITEM), max_length=MAX_EMAILS)


class AutoSendRemovalSerializer(BodySerializer):
    """Whom to take off a list: by addresses or by ids, not both."""

    emails = ArrayField(child=TextField(error_messages=_TEXT_ITEM), max_length=MAX_EMAILS, required=False)
    contactIds = ArrayField(child=TextField(error_messages=_TEXT_ITEM), max_length=MAX_EMAILS, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse both and neither."""
        if len(attrs) != 1:
            raise ValidationError({"emails": ["or contactIds is required, not both"]}, code="required")
        return attrs


def spec_of(sent: Mapping[str, Any]) -> PropertySpec:
    """Return a property as the core takes it."""
    return PropertySpec(
        name=sent["propertyName"],
        type=TYPE_OF_WIRE[sent["type"]],
        description=sent.get("description") or "",
        suggested_values=tuple(sent.get("suggestedValues") or ()),
    )


def changes_of(sent: Mapping[str, Any]) -> ContactChanges:
    """Return a contact as the core takes it; an empty userId is none (A3)."""
    identifiers = [(Identifier.EMAIL, sent["email"])]
    if sent.get("userId"):
        identifiers.append((Identifier.EXTERNAL_ID, sent["userId"]))
    return ContactChanges(
        first_name=sent.get("firstName"),
        last_name=sent.get("lastName"),
        attributes=sent.get("customFields") or {},
        identifiers=tuple(identifiers),
    )


def emails_of(data: Any) -> list[str]:
    """Return the addresses, normalised, of `{"emails": […]}` or of a bare array. Raises InvalidBody."""
    sent = AutoSendEmailsSerializer.read({"emails": data} if isinstance(data, list) else data)
    normalized = (normalize_identifier(Identifier.EMAIL, email) for email in sent["emails"])
    return list(dict.fromkeys(email for email in normalized if email is not None))


# Answers -------------------------------------------------------------------------------------------------------


class AutoSendPropertySerializer(serializers.Serializer[Any]):
    """A declared property of an event."""

    propertyName = serializers.CharField(source="name")
    type = serializers.SerializerMethodField()
    description = serializers.CharField(required=False)
    suggestedValues = serializers.ListField(source="suggested_values", child=serializers.CharField())

    @extend_schema_field(serializers.ChoiceField(choices=PROPERTY_TYPES))
    def get_type(self, row: EventProperty) -> str:
        """Return this format's word for the type."""
        return WIRE_OF_TYPE[EventProperty.Type(row.type)]

    def to_representation(self, instance: EventProperty) -> dict[str, Any]:
        """Leave out a description that is empty."""
        rendered: dict[str, Any] = super().to_representation(instance)
        if not rendered["description"]:
            del rendered["description"]
        return rendered


class AutoSendDefinitionSerializer(serializers.Serializer[Any]):
    """A declared event; its properties are prefetched."""

    id = serializers.CharField()
    eventName = serializers.CharField(source="name")
    description = OptionalTextField()
    properties = AutoSendPropertySerializer(source="properties.all", many=True)
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")


class AutoSendContactSerializer(serializers.Serializer[Any]):
    """A contact; its identifiers are prefetched."""

    id = serializers.CharField()
    email = serializers.CharField(allow_null=True)
    firstName = OptionalTextField(source="first_name")
    lastName = OptionalTextField(source="last_name")
    userId = serializers.CharField(source="external_id", allow_null=True)
    customFields = ObjectField(source="attributes")
    listIds = serializers.SerializerMethodField()
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="updated_at")
    projectId = serializers.CharField(source="workspace_id")

    def get_listIds(self, contact: Contact) -> list[str]:  # noqa: N802  (DRF looks for the field's name)
        """Return the contact's lists, as they were read for all contacts of the answer."""
        lists: list[str] = self.context["list_ids"].get(contact.id, [])
        return lists


class AutoSendGroupSerializer(serializers.Serializer[Any]):
    """An unsubscribe group."""

    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    isActive = serializers.BooleanField()
    isGlobal = serializers.BooleanField()


class AutoSendRemovedSerializer(serializers.Serializer[Any]):
    """What became of a removal from a list; who is unknown is not on it."""

    removed = serializers.IntegerField(source="changed")
    notInList = serializers.SerializerMethodField()
    errors = serializers.SerializerMethodField()  # type: ignore[assignment]  # the field's name

    def get_notInList(self, removal: MembersChanged) -> int:  # noqa: N802  (DRF looks for the field's name)
        """Return how many were not on the list."""
        return removal.unchanged + len(removal.unknown)

    def get_errors(self, removal: MembersChanged) -> list[str]:
        """Return none: a removal fails as a whole or not at all."""
        return []


class AutoSendFailureDetailSerializer(serializers.Serializer[Any]):
    """What is wrong with a field."""

    field = serializers.CharField()
    message = serializers.CharField()


class AutoSendFailureSerializer(serializers.Serializer[Any]):
    """Why a contact of a bulk update was refused."""

    index = serializers.IntegerField()
    message = serializers.CharField()
    code = serializers.CharField()
    details = AutoSendFailureDetailSerializer(many=True, required=False)


class AutoSendCountsSerializer(serializers.Serializer[Any]):
    """What became of a bulk update; `errors` is ours, and there only where something failed."""

    successCount = serializers.IntegerField()
    failedCount = serializers.IntegerField()
    totalCount = serializers.IntegerField()
    errors = AutoSendFailureSerializer(many=True, required=False)  # type: ignore[assignment]  # the field's name


class AutoSendDoneSerializer(serializers.Serializer[Any]):
    """A write that has nothing else to say."""

    success = serializers.BooleanField()


class AutoSendErrorDetailSerializer(serializers.Serializer[Any]):
    """A refusal."""

    message = serializers.CharField()
    code = serializers.CharField()
    details = AutoSendFailureDetailSerializer(many=True, required=False)
    retryAfter = serializers.IntegerField(required=False)


class AutoSendErrorSerializer(serializers.Serializer[Any]):
    """A refusal in its envelope."""

    success = serializers.BooleanField()
    error = AutoSendErrorDetailSerializer()
    retryAfter = serializers.IntegerField(required=False)
