"""AutoSend's endpoints of custom fields, which are declared contact fields."""

from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.values.names import composed
from contacts.errors import FieldNotFound
from contacts.models import Field
from contacts.profiles.fields import create_field, delete_field
from dialects.autosend.base import AutoSendViewSet, document
from dialects.autosend.serializers import (
    PROPERTY_TYPES,
    BodySerializer,
    TextField,
    TypeField,
    UnsupportedField,
)
from workspaces.api.base import object_body
from workspaces.api.fields import MillisecondsField

# A date of AutoSend's has a time of day, as its events' have.
_TYPES: Final = {"string": Field.Type.TEXT, "boolean": Field.Type.BOOLEAN, "date": Field.Type.DATETIME}
_WIRE: Final = {
    Field.Type.TEXT: "string",
    Field.Type.INTEGER: "number",
    Field.Type.BOOLEAN: "boolean",
    Field.Type.DATE: "date",
    Field.Type.DATETIME: "date",
}
# As the documentation lists them, in small letters.
_RESERVED: Final = frozenset(
    {
        *(
            "firstname",
            "first_name",
            "lastname",
            "last_name",
            "email",
            "mobile",
            "unsubscribed",
            "unsubscribe",
        ),
        *("unsubscribe_groups", "unsubscribe_preferences", "userid", "externalid", "createdat", "updatedat"),
        *("contactlists", "address", "address_line_1", "address_line_2", "city", "state", "zip", "country"),
    }
)


class AutoSendFieldBodySerializer(BodySerializer):
    """A field to be declared."""

    fieldName = TextField()
    fieldType = TypeField(choices=PROPERTY_TYPES)
    description = UnsupportedField("cannot be kept: contact fields have no description")
    defaultValue = UnsupportedField("cannot be kept: templates say what stands for a missing value")

    def validate_fieldName(self, value: str) -> str:  # noqa: N802  (DRF looks for the field's name)
        """Refuse the vendor's reserved names; the core refuses its own."""
        if value.strip().lower() in _RESERVED:
            raise ValidationError("is a reserved name")
        return value

    def validate_fieldType(self, value: str) -> str:  # noqa: N802  (DRF looks for the field's name)
        """Refuse numbers: declared ones are whole, and would refuse 12.5 of a contact."""
        if value not in _TYPES:
            raise ValidationError(
                "cannot be number: declared numbers are whole. Undeclared fields take any number"
            )
        return value


class AutoSendFieldSerializer(serializers.Serializer[Any]):
    """A declared field."""

    id = serializers.CharField()
    fieldName = serializers.CharField(source="name")
    fieldType = serializers.SerializerMethodField()
    projectId = serializers.CharField(source="workspace_id")
    createdAt = MillisecondsField(source="created_at")
    updatedAt = MillisecondsField(source="created_at", help_text="Fields do not change here")

    def get_fieldType(self, row: Field) -> str:  # noqa: N802  (DRF looks for the field's name)
        """Return this format's word for the type."""
        return _WIRE[Field.Type(row.type)]


def _with_message(name: str, data: Any = None) -> Any:
    """Describe an answer with its message."""
    members: dict[str, Any] = {"success": serializers.BooleanField(), "message": serializers.CharField()}
    return inline_serializer(f"AutoSend{name}Answer", members if data is None else {**members, "data": data})


class CustomFieldViewSet(AutoSendViewSet):
    """Declared fields of contacts."""

    queryset = Field.objects.none()
    scopes = {"GET": "contacts:read", "POST": "contacts:write", "DELETE": "contacts:write"}

    def get_queryset(self) -> QuerySet[Field]:
        """Return the workspace's fields, newest first."""
        return Field.objects.in_workspace(self.workspace.id).order_by("-id")

    @document(
        "List the custom fields, newest first",
        _with_message(
            "CustomFields",
            inline_serializer("AutoSendCustomFields", {"customFields": AutoSendFieldSerializer(many=True)}),
        ),
    )
    @action(detail=False, url_path="custom-fields", url_name="autosend-fields")
    def list_fields(self, request: Request) -> Response:
        """List the declared fields."""
        fields = AutoSendFieldSerializer(self.get_queryset(), many=True).data
        return _answer("Custom fields retrieved successfully", {"customFields": fields})

    @document(
        "Declare a custom field",
        _with_message("CustomField", AutoSendFieldSerializer()),
        {409: "The field exists"},
        status=201,
        body=AutoSendFieldBodySerializer,
    )
    @list_fields.mapping.post
    def create(self, request: Request) -> Response:
        """Declare a field; contacts' values of it are checked from now on."""
        sent = AutoSendFieldBodySerializer.read(object_body(request))
        field = create_field(self.workspace.id, sent["fieldName"], _TYPES[sent["fieldType"]])
        return _answer("Custom field created successfully", AutoSendFieldSerializer(field).data, status=201)

    @document("Delete a custom field", _with_message("CustomFieldDeleted"), {404: "No such field"})
    @action(
        detail=False,
        methods=["delete"],
        url_path=r"custom-fields/fieldName/(?P<name>.*[^/])",
        url_name="autosend-field",
    )
    def destroy(self, request: Request, name: str) -> Response:
        """Delete a field; contacts keep their values."""
        field = self.get_queryset().filter(name=composed(name)).first()
        if field is None:
            raise FieldNotFound
        delete_field(self.workspace, field)
        return _answer("Custom field deleted successfully")


def _answer(message: str, data: Any = None, status: int = 200) -> Response:
    answer = {"success": True, "message": message}
    return Response(answer if data is None else {**answer, "data": data}, status=status)
