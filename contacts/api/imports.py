"""Endpoints of imports in the native API: upload a file, and follow what becomes of its rows."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import django_filters
from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.files.errors import InvalidMapping, UnreadableFile
from config.http.json import StrictJSONParser
from config.http.spooled_responses import spooled
from contacts.api.uploads import AnyMediaType, UploadParser
from contacts.errors import ImportNotFound, UploadRefused
from contacts.imports.refused_rows import write_refused
from contacts.imports.uploads import UploadRequest, accept_upload, cancel_import
from contacts.models import Import
from workspaces.api.base import SingleFormatNegotiation, actor_of
from workspaces.api.fields import BlankAsNullField, MillisecondsField, StrictCharField
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import KnownKeysSerializer
from workspaces.scopes import Need

JSON_LINES: Final = "application/jsonl"
_FORMATS: Final = ["csv", "jsonl", "parquet"]
_OF_EVENTS: Final = Need("POST", "events:write", "of events", action="create")
_SHOWS_EVENTS: Final = Need("GET", "events:read", "of events", action="refused")


@extend_schema_field(OpenApiTypes.BOOL)
class WordsField(serializers.ChoiceField):
    """`true` or `false` as a word: forms and addresses have texts only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=["true", "false"], **options)

    def to_internal_value(self, data: Any) -> bool:  # type: ignore[override]  # a choice of words
        """Return whether it is true. Raises ValidationError."""
        return bool(super().to_internal_value(data) == "true")


class ImportBodySerializer(KnownKeysSerializer):
    """How a file is imported."""

    kind = serializers.ChoiceField(choices=Import.Kind.choices, help_text="what its rows are")
    effects = serializers.ChoiceField(
        choices=Import.Effects.choices,
        default=Import.Effects.SCORES_AND_SEGMENTS.value,
        help_text="what may follow from the rows; only `all` starts campaigns",
    )
    map = StrictCharField(
        default="",
        allow_blank=True,
        max_length=100_000,
        help_text="which column is which field: a vendor's name, or YAML or JSON; by default the header says so",
    )
    name = StrictCharField(
        default="",
        allow_blank=True,
        max_length=255,
        help_text="stands for the content: the rows of one name are the same, though the file has grown",
    )
    format = serializers.ChoiceField(choices=_FORMATS, required=False, help_text="by default recognised")
    encoding = StrictCharField(
        default="", allow_blank=True, max_length=40, help_text="by default UTF-8, or UTF-16 if it is that"
    )
    delimiter = serializers.CharField(
        default="",
        allow_blank=True,
        trim_whitespace=False,
        max_length=2,
        help_text="of CSV; by default recognised",
    )
    consents = serializers.ChoiceField(
        choices=["newer", "overwrite"],
        default="newer",
        help_text="of contacts: what the file says of consents counts where nothing newer is known, or in any case",
    )
    dryRun = WordsField(default=False, help_text="decide every row, and record nothing")


class ImportParametersSerializer(ImportBodySerializer):
    """The same in the address."""

    kind = serializers.ChoiceField(
        choices=Import.Kind.choices, required=False, help_text="where no form has it"
    )


class ImportFormSerializer(ImportBodySerializer):
    """A form with the file."""

    file = serializers.FileField(help_text="CSV, JSON Lines, gzip of both, or Parquet")


class ImportSerializer(serializers.Serializer[Any]):
    """An import: how far it has come, and what became of its rows."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=Import.Kind.choices)
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=Import.Status.choices)
    error = BlankAsNullField(help_text="why it failed, or did not go on a moment ago")
    progress = serializers.FloatField(
        allow_null=True, help_text="the part that is decided, 0 to 1; null: unknown"
    )
    rows = serializers.IntegerField(help_text="rows that are decided")
    recorded = serializers.IntegerField(help_text="new events, or contacts that were made")
    known = serializers.IntegerField(help_text="repeated events, or contacts that were there")
    refused = serializers.IntegerField()
    leftOut = serializers.IntegerField(source="left_out", help_text="rows that the map is not for")
    size = serializers.IntegerField(
        allow_null=True, help_text="bytes of the unpacked file, or rows of Parquet"
    )
    position = serializers.IntegerField(help_text="bytes that are decided, or rows of Parquet")
    effects = serializers.ChoiceField(choices=Import.Effects.choices)
    dryRun = serializers.BooleanField(source="dry_run")
    origin = serializers.ChoiceField(choices=Import.Origin.choices, help_text="who gave the file")
    actor = BlankAsNullField()
    map = serializers.JSONField(source="mapping", help_text="columns by fields; empty: by the header")
    startedAt = MillisecondsField(source="started_at")
    updatedAt = MillisecondsField(source="updated_at")
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)


class ImportFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """By kind, status and origin."""

    kind = django_filters.ChoiceFilter(choices=Import.Kind.choices)
    status = django_filters.ChoiceFilter(choices=Import.Status.choices)
    origin = django_filters.ChoiceFilter(choices=Import.Origin.choices)

    class Meta:
        model = Import
        fields: list[str] = []


_BINARY: Final = {"type": "string", "format": "binary"}
_UPLOAD: Any = {
    "multipart/form-data": ImportFormSerializer,
    **dict.fromkeys(("application/octet-stream", "text/csv", JSON_LINES), _BINARY),
}


class ImportViewSet(NativeViewSet):
    """The imports of a workspace, those of commands too."""

    tag = "imports"
    queryset = Import.objects.none()
    serializer_class = ImportSerializer
    filterset_class = ImportFilterSet
    pagination_class = KeysetPagination
    parser_classes = (UploadParser,)
    content_negotiation_class = AnyMediaType
    lookup_url_kwarg = "import_id"
    not_found = ImportNotFound
    scope = "contacts"
    needs = (_OF_EVENTS, _SHOWS_EVENTS)

    def get_queryset(self) -> QuerySet[Import]:
        """Return the workspace's imports."""
        return Import.objects.in_workspace(self.workspace.id)

    @extend_schema(operation_id="listImports")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List imports, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(ImportSerializer(page, many=True).data)

    @extend_schema(
        operation_id="createImport",
        request=_UPLOAD,
        parameters=[ImportParametersSerializer],
        responses={202: ImportSerializer},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Upload a file of contacts or events, which workers import.

        As a form with the part `file`, or as a body that is nothing but the file; the parameters are fields of the
        form, or in the address.
        """
        data = dict(request.data)
        if data.pop("file", None) is None:
            raise UploadRefused("file", "A file is required.")
        body = ImportBodySerializer(data=data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        if wanted["kind"] == Import.Kind.EVENTS:
            self.need(_OF_EVENTS)
        received = request.FILES["file"]
        try:
            run = accept_upload(self.workspace.id, received, _request(wanted, actor_of(request)))
        except (InvalidMapping, UnreadableFile) as error:
            field = "map" if isinstance(error, InvalidMapping) else "file"
            raise ValidationError({field: [error.sentence]}) from error
        return Response(ImportSerializer(run).data, status=202)

    @extend_schema(operation_id="getImport")
    def retrieve(self, request: Request, workspace_id: str, import_id: str) -> Response:
        """Return an import: how far it is, and what became of its rows."""
        return Response(ImportSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="getRefusedRows",
        responses={(200, JSON_LINES): OpenApiResponse(OpenApiTypes.BINARY, "a line of JSON for each")},
    )
    @action(detail=True)
    def refused(self, request: Request, workspace_id: str, import_id: str) -> HttpResponseBase:
        """Return the refused rows as JSON Lines, which import again once they are mended."""
        run = self.get_object()
        if run.kind == Import.Kind.EVENTS:
            self.need(_SHOWS_EVENTS)
        response = spooled(partial(write_refused, run), JSON_LINES)
        response.headers["Content-Disposition"] = f'attachment; filename="{run.id}.refused.jsonl"'
        return response

    @extend_schema(operation_id="cancelImport", request=None, responses={200: ImportSerializer})
    @action(
        detail=True,
        methods=["post"],
        parser_classes=[StrictJSONParser],
        content_negotiation_class=SingleFormatNegotiation,
    )
    def cancel(self, request: Request, workspace_id: str, import_id: str) -> Response:
        """End an import where it stands; what is recorded stays."""
        return Response(ImportSerializer(cancel_import(self.workspace.id, self.get_object())).data)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Close the file that came in."""
        if isinstance(files := getattr(request, "_files", None), dict):
            for received in files.values():
                received.close()
        return super().finalize_response(request, response, *args, **kwargs)


def _request(wanted: dict[str, Any], actor: str) -> UploadRequest:
    """Return how the file is to be imported. Raises ValidationError for what the kind has not."""
    is_of_contacts = wanted["kind"] == Import.Kind.CONTACTS
    if wanted["consents"] != "newer" and not is_of_contacts:
        raise ValidationError({"consents": ["Only contacts have consents."]})
    return UploadRequest(
        kind=Import.Kind(wanted["kind"]),
        effects=Import.Effects(wanted["effects"]),
        map=wanted["map"],
        name=wanted["name"],
        form=wanted.get("format"),
        encoding=wanted["encoding"],
        delimiter=wanted["delimiter"].replace("\\t", "\t"),
        dry_run=wanted["dryRun"],
        options={"consents": wanted["consents"]},
        actor=actor,
    )
