"""Leadpush's bodies and answers. Error messages are predicates (`must be a string`): see `errors.invalid`."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.fields import empty

from config.http.json import parse_json
from config.http.rendering import iso_micros
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, Field
from dialects.body_checks import FieldProblem, described, optional, record, schema_of
from dialects.leadpush.errors import invalid
from dialects.leadpush.mapping import IDENTIFIER_ATTRIBUTES, NAME_ATTRIBUTES, attributes_of
from workspaces.api.fields import StrictCharField
from workspaces.api.strict import ObjectField, StrictBooleanField

MAX_ITEMS = 100
MAX_EVENT_NAME_LENGTH = 255
MAX_NAME_LENGTH = 255
_REQUIRED = {"required": "is required", "null": "is required"}
_NOT_AN_OBJECT = {"invalid": "must be an object", "null": "must be an object"}
_NUMBER_OF_ITEMS = f"must have between 1 and {MAX_ITEMS} items"


def parse_event(body: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the attributes of the event that is sent, read without a serializer. Raises a 422."""
    sent = {name: body.get(name) for name in ("event_name", "attributes")}
    if isinstance(text := sent["attributes"], str):
        sent["attributes"] = _attributes_of_text(text)
    if problems := list(_SEND("", sent)):
        raise invalid({problem.field: [problem.message] for problem in problems})
    return str(sent["event_name"]).strip(), sent["attributes"] or {}


def _attributes_of_text(text: str) -> Any:
    """Return the value of JSON text, which the vendor's SDKs send for an object (L3), else the text."""
    # PHP cannot tell an empty object from an empty array: json_encode([]) gives this.
    if text.strip() == "[]":
        return {}
    try:
        parsed = parse_json(text)
    except ParseError:
        return text
    return text if parsed is None else parsed


def _event_name(path: str, value: Any) -> Iterator[FieldProblem]:
    if not isinstance(value, str):
        yield FieldProblem(path, "unsupported_type", "must be a string")
    elif not value.strip():
        yield FieldProblem(path, "required", "is required")
    elif len(value.strip()) > MAX_EVENT_NAME_LENGTH:
        message = f"must not be greater than {MAX_EVENT_NAME_LENGTH} characters"
        yield FieldProblem(path, "too_long", message)


def _event_attributes(path: str, value: Any) -> Iterator[FieldProblem]:
    if not isinstance(value, dict):
        yield FieldProblem(path, "unsupported_type", "must be a JSON object")


described(_event_name, {"type": "string", "minLength": 1, "maxLength": MAX_EVENT_NAME_LENGTH})
described(
    _event_attributes,
    {
        "oneOf": [
            {"type": "object", "additionalProperties": True},
            {"type": "string", "description": "The object as JSON text"},
        ],
        "example": {"plan": "pro", "source": "api"},
    },
)
_SEND = record(
    {"event_name": _event_name, "attributes": optional(_event_attributes)}, required=("event_name",)
)
SEND_SCHEMA = schema_of(_SEND)


class MicrosecondsField(serializers.DateTimeField):
    """A time as this format writes it: UTC, microseconds, `Z`."""

    def to_representation(self, value: Any) -> str:
        """Return e.g. `2026-01-15T10:00:00.000000Z`."""
        return iso_micros(value)


class LeadpushEventSerializer(serializers.Serializer[Any]):
    """An event of a contact."""

    uuid = serializers.CharField(source="id")
    event_name = serializers.CharField(source="name")
    attributes = ObjectField(source="properties")
    created_at = MicrosecondsField(source="occurred_at")


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        "example": {"email": "person@example.com", "first_name": "Ada"},
    }
)
class ContactAttributesField(ObjectField):
    """A contact's attributes, flat: identifiers, names and everything else.

    Unless `partial` says that the contact exists, the identity is required. The context's `view` has the
    workspace's `identity_field` and `declared_fields`.
    """

    default_error_messages = {"invalid": "must be an object"}

    def run_validation(self, data: Any = empty) -> Any:
        """Take null and PHP's empty array for an empty object."""
        return super().run_validation({} if data is empty or data is None or data == [] else data)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the attributes. Raises ValidationError with what is wrong with each."""
        attributes = super().to_internal_value(data)
        identity_field = self.context["view"].identity_field
        problems = {
            name: [problem]
            for name, value in attributes.items()
            if (problem := _problem_of_attribute(name, value, identity_field))
        }
        if identity_field not in attributes and not self.root.partial:
            problems[identity_field] = ["is required"]
        if problems:
            raise ValidationError(problems)
        return attributes

    def get_attribute(self, instance: Contact) -> dict[str, Any]:
        """Return what this format shows of a contact beside its own fields."""
        return attributes_of(instance, self.context["view"].declared_fields)


def _problem_of_attribute(name: str, value: Any, identity_field: str) -> str:
    if isinstance(value, dict | list):
        return "must be a string, a number, a boolean or null"
    if name in NAME_ATTRIBUTES and value is not None:
        if not isinstance(value, str):
            return "must be a string"
        return (
            f"must not be greater than {MAX_NAME_LENGTH} characters" if len(value) > MAX_NAME_LENGTH else ""
        )
    if name == identity_field and value in (None, ""):
        return "is required"
    if name in (identity_field, *IDENTIFIER_ATTRIBUTES) and value is not None:
        return "" if normalize_identifier(name, value) is not None else f"must be a valid {name}"
    return ""


class LeadpushContactBodySerializer(serializers.Serializer[Any]):
    """The body that creates a contact or, with `partial`, changes one."""

    subscribed = StrictBooleanField(
        required=False, allow_null=True, error_messages={"invalid": "must be true or false"}
    )
    attributes = ContactAttributesField(required=False)

    @property
    def errors(self) -> Any:
        """Return problems by whole path: an attribute may have the name that DRF gives to errors of no field."""
        problems = dict(super().errors)
        if isinstance(of_attributes := problems.get("attributes"), dict):
            del problems["attributes"]
            problems |= {f"attributes.{name}": predicates for name, predicates in of_attributes.items()}
        return problems


class LeadpushContactSerializer(serializers.Serializer[Contact]):
    """A contact."""

    uuid = serializers.CharField(source="id")
    subscribed = serializers.BooleanField()
    attributes = ContactAttributesField()
    # Where a contact was imported from; Headrace imports from nowhere yet.
    provider = serializers.CharField(default=None, read_only=True, allow_null=True)
    created_at = MicrosecondsField()
    updated_at = MicrosecondsField()


class TextField(StrictCharField):
    """A string; what it may say is checked by the core."""

    default_error_messages = {**_REQUIRED, "invalid": "must be a string"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, trim_whitespace=False, **kwargs)


@extend_schema_field({"type": "string", "enum": Field.Type.values})
class FieldTypeField(TextField):
    """The type of a contact field."""


class FieldFormatSerializer(serializers.Serializer[Any]):
    """How a contact field's values are written."""

    default_error_messages = {"invalid": "must be an object"}

    text = serializers.ChoiceField(
        choices=["email", "phone", "uuid", "url", "regex"], required=False, allow_null=True
    )
    pattern = serializers.CharField(required=False, allow_null=True)
    iso_format = serializers.CharField(required=False, allow_null=True)

    def run_validation(self, data: Any = empty) -> Any:
        """Take a format without any value for none."""
        return super().run_validation(data) or None

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the keys with a value, for the core to check; the SDK's models send the rest as null."""
        if not isinstance(data, dict):
            raise ValidationError(self.error_messages["invalid"])
        return {key: value for key, value in data.items() if value is not None}

    def to_representation(self, instance: Any) -> Any:
        """Return the format as it is stored."""
        return instance


class LeadpushFieldSerializer(serializers.Serializer[Field]):
    """A contact field: its body when it is created or changed, and its answer."""

    default_error_messages: ClassVar[Any] = _NOT_AN_OBJECT

    uuid = serializers.CharField(source="id", read_only=True)
    name = TextField()
    type = FieldTypeField()
    format = FieldFormatSerializer(required=False, allow_null=True)
    created_at = MicrosecondsField(read_only=True)


class LeadpushFieldListSerializer(serializers.Serializer[Any]):
    """The older generation's body: fields that are created all or none."""

    fields: Any = serializers.ListSerializer(
        child=LeadpushFieldSerializer(),
        allow_empty=False,
        max_length=MAX_ITEMS,
        error_messages={
            **_REQUIRED,
            "not_a_list": "must be an array",
            "empty": _NUMBER_OF_ITEMS,
            "max_length": _NUMBER_OF_ITEMS,
        },
    )


class LeadpushErrorSerializer(serializers.Serializer[Any]):
    """A refusal; `errors` names every field of a 422."""

    message = serializers.CharField()
    errors: Any = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
